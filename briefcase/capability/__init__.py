"""Short-lived, sender-constrained authority: the rules, without I/O.

`jws` (keys and compact signatures), `htu` (when two URLs are the same), `dpop` (proofs of possession, made and
checked), `replay` (each proof once), `tokens` (capability tokens), `pkce` (authorization-code proofs), `did`,
`credentials` (entitlements and their status).
"""
