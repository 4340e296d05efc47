"""`briefcase hook CLIENT`: a command that coding agents run before each of their tool calls. It imports little.

Callers: `cli`; `__main__`.
"""
