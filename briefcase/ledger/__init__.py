"""Receipts, approvals, budgets, request ids and settings on LMDB: what must change together commits together."""

from briefcase.ledger.ledger import Ledger, LedgerSettings

__all__ = ["Ledger", "LedgerSettings"]
