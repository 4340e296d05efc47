"""Backups: made on a live daemon, verified before they are opened, restored as an epoch of their own.

Callers: `witness`; edges, daemon.
"""
