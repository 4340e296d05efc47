"""Keys, signatures and proofs (JOSE and what OAuth builds on it): the rules, without I/O.

`base64url` (one spelling of each value), `jws` (keys, thumbprints and compact signatures), `htu` (when two URLs are the
same), `dpop` (proofs of possession, made and checked), `replay` (each proof once), `pkce` (proofs of who asked for a
code), `tokens` (capability tokens), `did` (names of keys), `credentials` (entitlements), `status_lists` (which of them
no longer hold), `identity_proof` (what the daemon signs to say who it is).

Callers: `approvals`, `fleet`, `mcp`, `payments`, `operator`, `receipts`, `signers`; adapters, edges, daemon.
"""
