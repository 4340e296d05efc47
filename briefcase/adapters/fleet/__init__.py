"""The way to a control plane: HTTP, the upload of receipts, the loop, and what is kept beside the ledger.

Callers: edges, daemon.
"""
