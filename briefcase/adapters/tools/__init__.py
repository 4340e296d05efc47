"""Tools: the registry, the built-in ones, and HTTP APIs that an operator declares.

Callers: `openapi`, `providers`, `servers`; edges, daemon.
"""
