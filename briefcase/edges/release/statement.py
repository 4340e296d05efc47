"""What a release says of itself, and how that is signed.

| file | what |
|---|---|
| `release-manifest.json` | the version, the commit, the tools, and of each file its kind, size and SHA-256 |
| `provenance.intoto.jsonl` | one DSSE envelope (1.0.0) of one in-toto Statement (v1) with SLSA provenance (v1) |
| the rest | the sdist, a wheel for each interpreter, the SBOM (CycloneDX), the lock it was tried with, what it passed |

The statement's subjects are every other file of the directory, the manifest too: one signature covers them all. The key
is Ed25519 and is named by its `did:key`, from which anyone verifies. Nothing holds a time of its own, so that the same
commit, tools and key make the same bytes; the commit's time stands in for all of them (`SOURCE_DATE_EPOCH`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from briefcase.core.fleet.envelopes import Envelope, EnvelopeSignature, pae
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.types import JsonObject

MANIFEST: Final = "release-manifest.json"
PROVENANCE: Final = "provenance.intoto.jsonl"
SBOM_IN_WHEEL: Final = "sboms/agentic-briefcase.cdx.json"  # below the `.dist-info` directory: PEP 770

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
BUILD_TYPE: Final = "urn:briefcase:release:v1"
BUILDER: Final = "urn:briefcase:make-release"

HashHex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
CommitHex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}([0-9a-f]{24})?$")]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}$")]


class Kind(StrEnum):
    """What a file of a release is."""

    SDIST = "sdist"
    WHEEL = "wheel"
    SBOM = "sbom"
    LOCK = "lock"
    EVIDENCE = "evidence"


class Signing(StrEnum):
    """Whether the release's key is one that lasts, or was made for this release alone."""

    PINNED = "pinned"
    UNPINNED = "unpinned"


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: its name, what it is, its size and its SHA-256."""

    name: FileName
    kind: Kind
    bytes: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
    sha256_hex: HashHex


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A release: which product, from which commit, made with which tools, and what it holds."""

    format: Annotated[str, msgspec.Meta(pattern="^briefcase release v1$")] = "briefcase release v1"
    product: str
    version: str
    commit: CommitHex
    source_date_epoch: int
    signing: Signing
    tools: dict[str, str]
    compiler: str
    tried_on: dict[str, str]
    artifacts: tuple[Artifact, ...]


class Digests(msgspec.Struct, frozen=True):
    """The digests of a subject; SHA-256 is the one that is read."""

    sha256: HashHex


class Subject(msgspec.Struct, frozen=True):
    """A file the statement is about."""

    name: FileName
    digest: Digests


class Statement(msgspec.Struct, frozen=True):
    """An in-toto Statement as it is verified: which files, and what kind of word about them. The word is for people."""

    subject: tuple[Subject, ...]
    type: str = msgspec.field(name="_type")
    predicate_type: str = msgspec.field(name="predicateType")


def provenance(manifest: Manifest) -> JsonObject:
    """The SLSA provenance of a release: from which commit it was built, with what."""
    source: JsonObject = {"name": "source", "digest": {"gitCommit": manifest.commit}}
    tools: list[JsonObject] = [{"uri": f"pkg:pypi/{name}@{said}"} for name, said in sorted(manifest.tools.items())]
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"product": manifest.product, "version": manifest.version},
            "internalParameters": {"source_date_epoch": manifest.source_date_epoch},
            "resolvedDependencies": [source, *tools],
        },
        "runDetails": {"builder": {"id": BUILDER}},
    }


def sign(manifest: Manifest, digests: Mapping[str, str], did: str, signer: Callable[[bytes], bytes]) -> bytes:
    """The envelope's file: the statement over these files, signed.

    Args:
        manifest: of the release.
        digests: of each file by its name, SHA-256 in hex; the manifest's own among them.
        did: the `did:key` of the key that signs.
        signer: signs as that key (Ed25519).
    """
    payload = canonical_bytes(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(digests.items())],
            "predicateType": PREDICATE_TYPE,
            "predicate": provenance(manifest),
        }
    )
    signature = EnvelopeSignature(base64.b64encode(signer(pae(PAYLOAD_TYPE, payload))).decode(), did)
    envelope = Envelope(base64.b64encode(payload).decode(), [signature], PAYLOAD_TYPE)
    return msgspec.json.encode(envelope) + b"\n"
