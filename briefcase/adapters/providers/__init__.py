"""Providers: credentials the agent never sees, turned into short-lived capabilities at call time.

`registry` (which providers there are), `entitlement` (verifiable credentials), `payments` (demonstration rails),
`capabilities` (minted ahead, cached, bound), `client` (the protected call), `quote` (the built-in paid tool),
`verdicts` (what the contract harness found), `service` (the nouns of the API over all of it), `composition`.
Log-ins are `oauth`'s.

Callers: edges, daemon.
"""
