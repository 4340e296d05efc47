"""Evidence and its signed manifest (`signed_manifest`): written beside the files, and the check of both.

`MANIFEST.json` lists every file; `MANIFEST.sig` is its signature by the daemon's identity, where a daemon was there to
sign. An operator of that daemon could have it sign others: note the `did` and the digest elsewhere when it matters.

Evidence of before there was one form of manifest verifies as it did (`_Before`): its signature's file says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from briefcase import __version__
from briefcase.adapters.signed_manifest import (
    EVIDENCE,
    ListedFile,
    SignedManifest,
    encode_manifest,
    encode_signature,
    is_signed_by,
    listed_twice,
    sha256_hex_of,
)

MANIFEST_NAME: Final = EVIDENCE.manifest_name
SIGNATURE_NAME: Final = EVIDENCE.signature_name


class Manifest(SignedManifest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of the evidence, sorted by path. `did` is empty where nobody could sign."""

    format: Literal["briefcase-evidence"] = "briefcase-evidence"
    version: Literal[2] = 2


class Signer(msgspec.Struct, frozen=True):
    """Who signs, as a did:key, and how: given a SHA-256 in hex, the signature over it, or None where it failed."""

    did: str
    sign: Callable[[str], bytes | None]


class Verdict(msgspec.Struct, frozen=True):
    """What a check found. `problems` empty means that every file is as it was signed by `did`."""

    problems: tuple[str, ...]
    did: str | None
    files: int


class _FileBefore(msgspec.Struct, frozen=True):
    name: str
    bytes: int
    sha256_hex: str


class _Before(msgspec.Struct, frozen=True):
    """A manifest of the first form; it does not say who signed it."""

    format: Literal["briefcase-evidence-1"]
    created_at: str
    files: tuple[_FileBefore, ...]


class _SignatureBefore(msgspec.Struct, frozen=True):
    did: str
    signature_b64: str


def write_manifest(files: Mapping[str, bytes], signer: Signer | None, now: datetime) -> dict[str, bytes]:
    """The manifest of some files, and its signature where there is one.

    Args:
        files: content by path.
        signer: who signs; None where nobody can.
        now: when.
    """
    manifest = Manifest(
        created_at=now.astimezone(UTC).isoformat(timespec="seconds"),
        made_by=f"briefcase {__version__}",
        did="" if signer is None else signer.did,
        files=tuple(ListedFile(path, len(data), sha256_hex_of(data)) for path, data in sorted(files.items())),
    )
    text = encode_manifest(manifest)
    written = {MANIFEST_NAME: text}
    signature = None if signer is None else signer.sign(sha256_hex_of(text))
    if signature is not None:
        written[SIGNATURE_NAME] = encode_signature(signature)
    return written


def verify_manifest(files: Mapping[str, bytes], expected_did: str | None) -> Verdict:
    """Check files against the manifest and the signature among them.

    1. the signature is there, and is that of the manifest by the key it names
    2. that key is the expected one, where one is expected
    3. every file the manifest lists is there, with that size and digest, and is listed once
    4. there is no other file

    Args:
        files: content by path, the manifest and its signature among them.
        expected_did: whose signature is wanted; None takes any.
    """
    data, signature = files.get(MANIFEST_NAME, b""), files.get(SIGNATURE_NAME, b"")
    try:
        manifest, signature = _parse(data, signature)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Verdict((f"`{MANIFEST_NAME}` is missing or unreadable",), None, 0)
    problems = []

    # 1. and 2. the signature
    did = manifest.did if is_signed_by(manifest.did, EVIDENCE, data, signature) else None
    if did is None:
        problems.append(f"`{SIGNATURE_NAME}` is missing, or is no signature of `{MANIFEST_NAME}`")
    elif expected_did is not None and did != expected_did:
        problems.append(f"signed by `{did}`, expected `{expected_did}`")

    # 3. the files
    for listed in manifest.files:
        content = files.get(listed.path)
        if content is None:
            problems.append(f"`{listed.path}` is missing")
        elif (len(content), sha256_hex_of(content)) != (listed.bytes, listed.sha256_hex):
            problems.append(f"`{listed.path}` is not what was signed")
    twice = listed_twice(manifest.files)
    if twice is not None:
        problems.append(f"`{twice}` is listed twice")

    # 4. nothing else
    known = {listed.path for listed in manifest.files} | {MANIFEST_NAME, SIGNATURE_NAME}
    problems += [f"`{path}` is not in the manifest" for path in sorted(set(files) - known)]
    return Verdict(tuple(problems), did, len(manifest.files))


def _parse(data: bytes, signature: bytes) -> tuple[Manifest, bytes]:
    """Read a manifest and its signature's file, or those of the first form as such."""
    try:
        return msgspec.json.decode(data, type=Manifest), signature
    except msgspec.ValidationError:
        before = msgspec.json.decode(data, type=_Before)
    try:
        signed = msgspec.json.decode(signature, type=_SignatureBefore)
    except (msgspec.DecodeError, UnicodeDecodeError):
        signed = _SignatureBefore("", "")
    files = tuple(ListedFile(file.name, file.bytes, file.sha256_hex) for file in before.files)
    manifest = Manifest(created_at=before.created_at, made_by="", did=signed.did, files=files)
    return manifest, f"{signed.signature_b64}\n".encode()
