"""What every client of the daemon checks before it sends anything: that the daemon is who answers.

Callers: `cli`, `diagnostics`, `gateway`, `hook`.
"""
