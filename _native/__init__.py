"""Compiled core: policy matching and receipt hashing. Only `policy/`, `receipts/` and the ledger import it."""
