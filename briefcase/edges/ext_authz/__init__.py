"""Envoy's external authorization over gRPC (the extra `ext-authz`); over HTTP it is a noun of the API.

Callers: daemon.
"""
