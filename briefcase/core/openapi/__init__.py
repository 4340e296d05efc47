"""OpenAPI documents as values: an operation of one becomes a tool's manifest, and what that leaves out is named.

Callers: adapters, edges.
"""
