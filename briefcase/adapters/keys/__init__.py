"""Where the daemon's own keys are: in the vault, in a PKCS#11 token, or with a TPM.

`places` (what a place does, and the vault), `token` (PKCS#11), `tpm` (TPM 2.0), `opening` (which of them, at a start).

Callers: `oauth`, `providers`, `servers`; daemon.
"""
