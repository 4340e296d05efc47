"""The rules: no I/O, no framework, no clock."""
