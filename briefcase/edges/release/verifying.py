"""Verify a release: offline, by somebody who has its directory and, at best, its key's `did:key` from elsewhere.

 1. the envelope, and its signature: nothing of the payload is read before
 2. each file the statement names, by its size and digest; and no file beside them
 3. the manifest, which must say of each file what the statement says
 4. the SBOM in each wheel, which must be the one beside it

The first that differs is named. What a signature cannot say is whose key it is: that is what `did` is for.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from briefcase.adapters.disk.files import digest_of, open_plain
from briefcase.adapters.vault.identity import verify_signature
from briefcase.core.fleet.envelopes import Envelope, decode_payload, pae
from briefcase.core.json.strict import parse as parse_json
from briefcase.edges.release.statement import (
    MANIFEST,
    PAYLOAD_TYPE,
    PREDICATE_TYPE,
    PROVENANCE,
    SBOM_IN_WHEEL,
    STATEMENT_TYPE,
    Kind,
    Manifest,
    Statement,
)
from briefcase.model.errors import BriefcaseError, CallerError

MAX_STATEMENT_BYTES: Final = 256 << 10
MAX_SBOM_BYTES: Final = 16 << 20


class ReleaseError(BriefcaseError):
    """A release is not as it was made, or not by whom it should be."""

    default_code = "proof_invalid"


class VerifiedRelease(NamedTuple):
    """What was verified, the `did:key` that signed it, and whether that is the one it should be."""

    manifest: Manifest
    did: str
    is_pinned: bool


def verify_release(directory: Path, did: str | None = None) -> VerifiedRelease:
    """Verify every file of a release, and who signed it.

    Args:
        directory: as `make release` left it.
        did: the `did:key` that must have signed it, known from elsewhere; None accepts any, and says so.

    Raises:
        CallerError: there is no such directory.
        ReleaseError: a file is changed, missing or too many, the signature is not good, or is another key's.
    """
    if not directory.is_dir():
        raise CallerError(f"no directory `{directory}`", code="not_found")
    # 1. the envelope
    statement, signer = _opened(_read(directory / PROVENANCE, MAX_STATEMENT_BYTES), did)
    digests = {subject.name: subject.digest.sha256 for subject in statement.subject}
    if len(digests) != len(statement.subject) or MANIFEST not in digests:
        raise ReleaseError(f"`{PROVENANCE}` names a file twice, or not `{MANIFEST}`")
    # 2. the files
    sizes = _check_files(directory, digests)
    # 3. the manifest
    manifest = _manifest(_read(directory / MANIFEST, MAX_STATEMENT_BYTES))
    _check_listed(manifest, digests, sizes)
    # 4. the SBOM
    _check_sboms(directory, manifest)
    return VerifiedRelease(manifest, signer, did is not None)


def _check_files(directory: Path, digests: Mapping[str, str]) -> dict[str, int]:
    """Each file as it was signed, and no other; gives their sizes."""
    sizes = {}
    for name, digest in sorted(digests.items()):
        sizes[name], found = _digest_of(directory / name)
        if found != digest:
            raise ReleaseError(f"`{name}` is not the file that was signed: its SHA-256 differs")
    for path in sorted(directory.iterdir()):
        if path.name not in digests and path.name != PROVENANCE:
            raise ReleaseError(f"`{path.name}` is beside the release, and nobody signed it", hint="move it elsewhere")
    return sizes


def _check_listed(manifest: Manifest, digests: Mapping[str, str], sizes: Mapping[str, int]) -> None:
    listed = {artifact.name: artifact for artifact in manifest.artifacts}
    if len(listed) != len(manifest.artifacts) or listed.keys() != digests.keys() - {MANIFEST}:
        raise ReleaseError(f"`{MANIFEST}` does not list the files that were signed")
    for name, artifact in sorted(listed.items()):
        if (artifact.sha256_hex, artifact.bytes) != (digests[name], sizes[name]):
            raise ReleaseError(f"`{MANIFEST}` says another digest or size of `{name}` than was signed")


def _check_sboms(directory: Path, manifest: Manifest) -> None:
    names = {kind: [artifact.name for artifact in manifest.artifacts if artifact.kind is kind] for kind in Kind}
    if len(names[Kind.SBOM]) != 1:
        raise ReleaseError(f"expected one SBOM in the release, got {len(names[Kind.SBOM])}")
    beside = _read(directory / names[Kind.SBOM][0], MAX_SBOM_BYTES)
    for name in sorted(names[Kind.WHEEL]):
        if _sbom_in(directory / name) != beside:
            raise ReleaseError(f"the SBOM in `{name}` is not the one beside it, `{names[Kind.SBOM][0]}`")


def _opened(data: bytes, did: str | None) -> tuple[Statement, str]:
    """The statement, and the `did:key` that signed it; its payload is read once the signature was good."""
    try:
        envelope = msgspec.convert(parse_json(data), Envelope)
        payload = decode_payload(envelope.payload)
        (signature,) = envelope.signatures
        raw = decode_payload(signature.sig)
    except (CallerError, msgspec.ValidationError, ValueError) as error:
        raise ReleaseError(f"`{PROVENANCE}`: expected a DSSE envelope with one signature: {error}") from None
    signer = signature.keyid
    if did is not None and signer != did:
        raise ReleaseError(
            f"signed by `{signer[:80]}`, expected `{did}`", hint="another key's release is not the one you know"
        )
    if envelope.payload_type != PAYLOAD_TYPE or not verify_signature(signer, pae(envelope.payload_type, payload), raw):
        raise ReleaseError(f"`{PROVENANCE}`: the signature is not good")
    try:
        statement = msgspec.convert(parse_json(payload), Statement)
    except (CallerError, msgspec.ValidationError) as error:
        raise ReleaseError(f"`{PROVENANCE}`: expected an in-toto statement: {error}") from None
    if (statement.type, statement.predicate_type) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ReleaseError(f"`{PROVENANCE}`: expected a statement with SLSA provenance v1")
    return statement, signer


def _manifest(data: bytes) -> Manifest:
    try:
        return msgspec.convert(parse_json(data), Manifest)
    except (CallerError, msgspec.ValidationError) as error:
        raise ReleaseError(f"`{MANIFEST}` is not as expected: {error}") from None


def _sbom_in(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(f".dist-info/{SBOM_IN_WHEEL}")]
            if len(names) != 1 or archive.getinfo(names[0]).file_size > MAX_SBOM_BYTES:
                raise ReleaseError(f"expected one SBOM in `{wheel.name}`, got {len(names)}")
            return archive.read(names[0])
    except (OSError, zipfile.BadZipFile) as error:
        raise ReleaseError(f"`{wheel.name}` cannot be read: {error}") from None


def _digest_of(path: Path) -> tuple[int, str]:
    try:
        return digest_of(path)
    except OSError as error:
        raise ReleaseError(f"`{path.name}` is missing, or no plain file", detail=str(error)) from None


def _read(path: Path, most: int) -> bytes:
    try:
        with open_plain(path) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ReleaseError(f"`{path.name}` is missing, or no plain file", detail=str(error)) from None
    if len(data) > most:
        raise ReleaseError(f"`{path.name}` is longer than the {most:,} bytes it may have")
    return data
