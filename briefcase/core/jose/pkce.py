"""Proof Key for Code Exchange (RFC 7636), `S256` only: the code is of use to none but who asked for it."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final

from briefcase.core.jose.base64url import encode_base64url

METHOD: Final = "S256"
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")  # RFC 7636 section 4.1
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def challenge_of(verifier: str) -> str:
    """The `code_challenge` of a verifier: base64url of its SHA-256 (section 4.2)."""
    return encode_base64url(hashlib.sha256(verifier.encode("ascii")).digest())


def is_challenge(text: str) -> bool:
    """Whether a text can be an `S256` challenge."""
    return _CHALLENGE.fullmatch(text) is not None


def is_verified(verifier: str, challenge: str) -> bool:
    """Whether a verifier is the one a challenge was made of (section 4.6); False for one that is malformed."""
    return _VERIFIER.fullmatch(verifier) is not None and hmac.compare_digest(challenge_of(verifier), challenge)
