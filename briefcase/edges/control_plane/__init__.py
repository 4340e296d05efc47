"""The control plane: a fleet enrols with it; it holds the policy bundles and the receipts of every device.

Callers: `cli`.
"""
