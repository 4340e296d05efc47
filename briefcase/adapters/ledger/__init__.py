"""Receipts, approvals, budgets, request ids and settings on LMDB: what must change together commits together.

Callers: `backup`; edges, daemon.
"""

from briefcase.adapters.ledger.ledger import Ledger, LedgerSettings

__all__ = ["Ledger", "LedgerSettings"]
