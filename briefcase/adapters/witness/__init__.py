"""The daemon's end of the witness protocol: what is sent to witnesses, when, and what of their answers is kept.

Callers: edges, daemon.
"""
