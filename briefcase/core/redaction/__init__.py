"""Secrets cut out of what leaves."""
