"""The flow of one call and its parts: `flow` reads top to bottom. The API calls it; the daemon composes it.

Callers: adapters, edges, daemon.
"""
