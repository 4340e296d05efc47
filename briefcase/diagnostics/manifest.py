"""Manifests: the digests of a set of files, signed by the daemon's identity key, and the check of both.

`MANIFEST.json` lists name, size and SHA-256 of every file; `MANIFEST.sig` holds who signed its digest and how. The
signature (Ed25519, RFC 8032) is over `SIGNED_PREFIX` and the SHA-256 of `MANIFEST.json` in hex, so that no signature
over evidence can ever be taken for one over anything else.

A signature proves that the daemon of this identity had these bytes. It proves nothing of the hours in between, and an
operator of that daemon could have it sign others: note the `did` and the digest elsewhere when it matters.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import orjson

from briefcase.vault.identity import verify_signature

SIGNED_PREFIX: Final = "briefcase evidence v1\n"
MANIFEST_NAME: Final = "MANIFEST.json"
SIGNATURE_NAME: Final = "MANIFEST.sig"
FORMAT: Final = "briefcase-evidence-1"


class Entry(msgspec.Struct, frozen=True):
    """One file."""

    name: str
    bytes: int
    sha256_hex: str


class Manifest(msgspec.Struct, frozen=True):
    """All of them, sorted by name."""

    format: str
    created_at: str
    files: tuple[Entry, ...]


class Signature(msgspec.Struct, frozen=True):
    """Who signed, as a did:key, and the signature in base64."""

    did: str
    signature_b64: str


class Verdict(msgspec.Struct, frozen=True):
    """What a check found. `problems` empty means that every file is as it was signed by `did`."""

    problems: tuple[str, ...]
    did: str | None
    files: int


def write_manifest(
    files: Mapping[str, bytes], sign: Callable[[str], Signature | None], now: datetime
) -> dict[str, bytes]:
    """The manifest of some files, and its signature where there is one.

    Args:
        files: content by name.
        sign: signs a SHA-256 in hex; None where nobody can.
        now: when.
    """
    entries = tuple(Entry(name, len(data), _sha256(data)) for name, data in sorted(files.items()))
    manifest = orjson.dumps(
        msgspec.to_builtins(Manifest(FORMAT, now.astimezone(UTC).isoformat(timespec="seconds"), entries)),
        option=orjson.OPT_INDENT_2,
    )
    written = {MANIFEST_NAME: manifest}
    signature = sign(_sha256(manifest))
    if signature is not None:
        written[SIGNATURE_NAME] = msgspec.json.encode(signature)
    return written


def verify_manifest(files: Mapping[str, bytes], expected_did: str | None) -> Verdict:
    """Check files against the manifest and the signature among them.

    1. the signature is there, and is that of the manifest by the key it names
    2. that key is the expected one, where one is expected
    3. every file the manifest lists is there, with that size and digest
    4. there is no other file

    Args:
        files: content by name, the manifest and its signature among them.
        expected_did: whose signature is wanted; None takes any.
    """
    try:
        manifest = msgspec.json.decode(files.get(MANIFEST_NAME, b""), type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Verdict((f"`{MANIFEST_NAME}` is missing or unreadable",), None, 0)
    problems = []
    did = _signer(files)

    # 1. and 2. the signature
    if did is None:
        problems.append(f"`{SIGNATURE_NAME}` is missing, or is no signature of `{MANIFEST_NAME}`")
    elif expected_did is not None and did != expected_did:
        problems.append(f"signed by `{did}`, expected `{expected_did}`")
    if manifest.format != FORMAT:
        problems.append(f"expected format `{FORMAT}`, got `{manifest.format}`")

    # 3. the files
    for entry in manifest.files:
        data = files.get(entry.name)
        if data is None:
            problems.append(f"`{entry.name}` is missing")
        elif (len(data), _sha256(data)) != (entry.bytes, entry.sha256_hex):
            problems.append(f"`{entry.name}` is not what was signed")

    # 4. nothing else
    listed = {entry.name for entry in manifest.files} | {MANIFEST_NAME, SIGNATURE_NAME}
    problems += [f"`{name}` is not in the manifest" for name in sorted(set(files) - listed)]
    return Verdict(tuple(problems), did, len(manifest.files))


def _signer(files: Mapping[str, bytes]) -> str | None:
    """Whose valid signature of the manifest there is."""
    try:
        found = msgspec.json.decode(files.get(SIGNATURE_NAME, b""), type=Signature)
        signature = base64.b64decode(found.signature_b64, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return None
    signed = f"{SIGNED_PREFIX}{_sha256(files[MANIFEST_NAME])}".encode()
    return found.did if verify_signature(found.did, signed, signature) else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
