"""The Model Context Protocol's wire, without I/O: shared by the gateway and by what stands behind the daemon.

Callers: adapters, edges.
"""
