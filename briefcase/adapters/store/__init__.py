"""`briefcase.sqlite`, for what changes rarely, and the token files beside it.

One file per noun: `tokens` (the operator's and auditor's token files), `database` (SQLite, its migrations), `agents`,
`notes`, `tie` (this database and that ledger belong together).

Callers: `fleet`, `providers`; edges, daemon.
"""
