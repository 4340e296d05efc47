"""What a person is asked, sees and answers: the lifecycle of an approval. The flow and `core/operator` call it.

Callers: `calls`, `operator`; adapters, edges, daemon.
"""
