"""Harnesses that check others against the contract.

`provider` (the table of checks of a provider), `subject` (talks to it as a client that may misbehave), `report`.

Callers: `cli`.
"""
