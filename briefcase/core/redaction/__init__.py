"""Known secrets found in a text and cut out. What lets text leave the process calls it, by `ports.Redactor`.

Callers: `calls`; adapters, edges, daemon.
"""
