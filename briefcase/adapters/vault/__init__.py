"""Custody of secrets: what the daemon holds and the agent must never see.

One file per noun: `secret` (bytes that never print), `vault` (the `ports.Secrets` that everything else uses),
`sealed_file`, `os_keyring` (where secrets are kept), `opening` (which of them, and how),
`bindings` (where a secret may go), `identity` (`did:key`).

Callers: `backup`, `keys`, `oauth`, `servers`, `signed_manifest`, `tools`; edges, daemon.
"""
