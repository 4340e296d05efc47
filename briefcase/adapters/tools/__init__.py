"""Tools: the registry, the built-in ones, and HTTP APIs that an operator declares.

Callers: `providers`, `servers`; edges, daemon.
"""
