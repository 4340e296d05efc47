"""The one guarded way out: URLs and headers, destinations, and the requests themselves.

Callers: `fleet`, `oauth`, `openapi`, `providers`, `tools`, `vault`, `witness`; edges, daemon.
"""
