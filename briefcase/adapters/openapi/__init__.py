"""OpenAPI documents as files: JSON or YAML read into values, and operations written as checked manifests.

Callers: edges.
"""
