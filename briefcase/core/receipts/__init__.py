"""Receipts: canonical bytes, the chain, and the events it records. The flow, the operator and the ledger call it.

Callers: `calls`, `grants`, `fleet`, `payments`, `operator`, `policy`, `redaction`, `wire`; adapters, edges, daemon.
"""
