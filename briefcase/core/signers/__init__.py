"""Who signs a yes: paired devices and passkeys, what they sign, and that each signature counts once.

Callers: `operator`, `wire`; adapters, edges, daemon.
"""
