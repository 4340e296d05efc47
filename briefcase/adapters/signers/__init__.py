"""The cryptography of signers: the handshake that pairs a device, its signatures, and those of passkeys.

Callers: edges, daemon.
"""
