"""Signed manifests: the digests of a set of files, and whose word they are; for backups, evidence and bundles alike.

| part | what |
|---|---|
| the manifest | JSON: `format`, `version`, when and by what it came, its signer's `did`, every path, size, SHA-256 |
| the signature | base64: Ed25519 (RFC 8032) by that `did` over the format's prefix and the manifest's SHA-256 in hex |

A format has a prefix of its own, so that no signature over one kind of files can be taken for one over another kind: an
operator has the daemon sign digests of evidence, and must not be able to have a backup signed.

A signature shows that the daemon of this `did` had these bytes. Whose `did` it should be, only who noted it elsewhere
can say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple

import msgspec

from briefcase.adapters.vault.identity import verify_signature

Natural = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
HashHex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class ListedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: its path, its size and its SHA-256."""

    path: str
    bytes: Natural
    sha256_hex: HashHex


class SignedManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every format says; a format adds its own fields, and narrows `format` and `version`."""

    format: str
    version: int
    created_at: str
    made_by: str
    did: str
    files: tuple[ListedFile, ...]


class Format(NamedTuple):
    """Where a kind of files has its manifest and its signature, and what the signature's text begins with."""

    manifest_name: str
    signature_name: str
    signed_prefix: str


BACKUP: Final = Format("manifest.json", "manifest.sig", "briefcase backup v1\n")
EVIDENCE: Final = Format("MANIFEST.json", "MANIFEST.sig", "briefcase evidence v1\n")


def encode_manifest(manifest: SignedManifest) -> bytes:
    """The manifest's file."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def encode_signature(signature: bytes) -> bytes:
    """The signature's file."""
    return base64.b64encode(signature) + b"\n"


def sha256_hex_of(data: bytes) -> str:
    """The digest of a file, as a manifest has it."""
    return hashlib.sha256(data).hexdigest()


def signed_text(of: Format, manifest: bytes) -> bytes:
    """What the signature is over."""
    return f"{of.signed_prefix}{sha256_hex_of(manifest)}".encode()


def is_signed_by(did: str, of: Format, manifest: bytes, signature: bytes) -> bool:
    """Whether a signature's file is that of a manifest's file by an identity."""
    try:
        raw = base64.b64decode(signature.removesuffix(b"\n"), validate=True)
    except (binascii.Error, ValueError):
        return False
    is_as_written = encode_signature(raw) == signature  # base64 has several forms of the same bytes
    return is_as_written and verify_signature(did, signed_text(of, manifest), raw)


def listed_twice(files: Iterable[ListedFile]) -> str | None:
    """The first path that a manifest lists more than once; which of the two a reader takes would be the reader's."""
    return next((path for path, count in Counter(file.path for file in files).items() if count > 1), None)
