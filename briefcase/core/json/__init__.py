"""JSON of untrusted callers, read strictly: no two readers understand one text differently. Every ring may call it.

Callers: `calls`, `grants`, `hooks`, `jose`, `fleet`, `mcp`, `openapi`, `payments`, `operator`, `policy`, `redaction`,
`wire`; adapters, edges.
"""
