"""The flow of one call and its parts."""
