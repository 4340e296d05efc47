"""The fleet's protocol, without I/O: signed bundles and their siblings, uploads of receipts, a device's states.

The operator (`core/operator/fleet.py`) applies what holds, the adapters carry it, and a control plane signs with the
same functions.

Callers: `operator`, `wire`; adapters, edges, daemon.
"""
