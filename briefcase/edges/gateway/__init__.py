"""The MCP endpoint agents connect to: a process of its own that holds an agent's token and no secret.

Callers: `cli`.
"""
