"""Releases: what their files are, and whose word for them stands beside them.

`statement` (what is written and signed), `verifying` (how somebody else reads it). Building one is `tests/release`.

Callers: `cli`.
"""
