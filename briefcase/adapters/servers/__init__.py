"""MCP servers behind the daemon: who they are, how they are reached, what of theirs can be called.

Callers: edges, daemon.
"""
