"""What an operator does: one module a noun, each change in the same order: check, intent, effect, receipt.

`administration` is that order, for every noun. The API parses a request, calls a noun's method and shapes its answer;
what may be done, and what a crash in the middle leaves, is said here. Each module's docstring has its crash table.

Callers: adapters, edges, daemon.
"""
