"""How a person sees each character of a text.

Callers: `calls`, `operator`, `policy`, `risk`; adapters, edges, daemon.
"""
