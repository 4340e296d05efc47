"""The client of users' programs, and what every client of the daemon checks before it sends anything: who answers.

Callers: `cli`, `diagnostics`, `gateway`, `hook`, `notifier`.
"""
