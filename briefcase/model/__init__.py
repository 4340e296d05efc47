"""The words of the domain: values, effects, ports, errors and reasons. Nothing here acts."""
