"""How a person sees each character of a text."""
