"""The daemon's proof of its identity: a signature over what the client chose and over where the client connected.

Over TCP a client cannot see who listens at a port. Before the client sends a token it sends a nonce, and the daemon
signs `identity_proof_text`. The address is the listener's own, as the daemon's socket tells it, so a stranger at
another port who passes the nonce on gets a proof for the daemon's address and not for the stranger's.
"""

from __future__ import annotations

import re
from typing import Final

from briefcase.model.errors import CallerError

_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")


def identity_proof_text(did: str, authority: str, nonce: str) -> bytes:
    """The signed bytes (CONTRACT: `/v1/identity/proof`).

    Args:
        did: the daemon's `did:key`.
        authority: `host:port` of the listener, an IPv6 host in brackets.
        nonce: what the client chose.
    """
    return f"briefcase identity proof\n{did}\n{authority}\n{nonce}\n".encode()


def check_nonce(nonce: str) -> None:
    """Check that a nonce can stand on a line of the signed text.

    Raises:
        CallerError: the nonce is not 16 to 128 base64url characters.
    """
    if not _NONCE.fullmatch(nonce):
        raise CallerError("expected a `nonce` of 16 to 128 characters `A-Z a-z 0-9 _ -`")


def authority_of(host: str, port: int) -> str:
    """`host:port`, an IPv6 host in brackets (RFC 3986 section 3.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
