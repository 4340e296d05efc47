"""What a provider asks to be paid, and what a payment proves: the rules of the rails, without I/O and without a wallet.

`challenges` (what a 402 asks for, read strictly, and the terms a person sees), `x402` (version 2: its offers, what a
helper may sign, and what the provider says came of it).

Callers: adapters, daemon.
"""
