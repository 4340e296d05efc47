"""Diagnostics on the wire: rules measured, signatures over evidence, and where secrets were found."""

from __future__ import annotations

from typing import Annotated

import msgspec


class CheckRecord(msgspec.Struct, frozen=True):
    """One rule, measured; `effect` is what it means in this mode where `ok` is false."""

    name: str
    ok: bool
    detail: str
    effect: str = ""
    hint: str = ""


class Checks(msgspec.Struct, frozen=True):
    """All rules of one kind."""

    mode: str
    compatibility_profile: str
    checks: list[CheckRecord]


class SignRequest(msgspec.Struct, frozen=True):
    """The digest of a manifest of evidence: SHA-256 in hex."""

    sha256_hex: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Signed(msgspec.Struct, frozen=True):
    """An Ed25519 signature (RFC 8032) over `briefcase evidence v1`, a line feed, and the digest in hex."""

    did: str
    signature_b64: str


class Searched(msgspec.Struct, frozen=True):
    """Where secrets are in the piece (start and end of each place), and how many were looked for and could not be."""

    places: list[tuple[int, int]]
    secrets: int
    too_short: int
