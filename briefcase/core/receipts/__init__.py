"""Receipts: canonical bytes, the chain, and the events it records."""
