"""The `aacp_v1` documents as structs, one module a noun: what the daemon writes is what its clients read.

A field without a default is one that the contract promises, or, at an endpoint that only this daemon has, one without
which its answer says nothing: a client refuses an answer without it (`reading.py`). Every other field has a default,
so that an older daemon's answer is read; what a newer one adds is passed over. A field that the daemon itself leaves
out at times is a `Maybe`; it writes each of the others, and `docs/openapi.json` says so.

A body whose bounds are those of an adapter stays beside its handler.

Callers: `calls`, `operator`; adapters, edges.
"""
