"""Which daemon this is on the wire: its name, its proof of that, who asks, its profile, and whether it serves."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class IdentityAnswer(msgspec.Struct, frozen=True):
    """The daemon's name: the did:key of its signing key; the version that runs; and the name and role of the asker.

    `identity_key` and `proof_keys` say, to operators and auditors, where its keys are kept.
    """

    did: str
    profile_mode: str
    compatibility_profile: str
    version: str = ""
    principal: str = ""
    role: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["agent", "approver", "auditor", "operator"]})] = ""
    identity_key: str = ""
    proof_keys: str = ""


class ProofRequest(msgspec.Struct, frozen=True):
    """What the client chose: 16 to 128 base64url characters, never the same twice."""

    nonce: str


class ProofAnswer(msgspec.Struct, frozen=True):
    """The daemon's did, and its Ed25519 signature over did, listener and nonce, base64url without padding."""

    did: str
    sig_b64: str


class RuleRecord(msgspec.Struct, frozen=True):
    """One rule: what it requires, and what follows in this mode where it does not hold (noted, failed, refused)."""

    name: str
    requires: str = ""
    effect: str = ""


class ProfileAnswer(msgspec.Struct, frozen=True):
    """What is enforced."""

    mode: str
    compatibility_profile: str
    strict_enforcement: bool
    strict_host: bool = False
    rules: list[RuleRecord] = []


class Health(msgspec.Struct, frozen=True):
    """The process runs and answers."""

    status: Literal["ok"]
    ts: str


class Ready(msgspec.Struct, frozen=True):
    """Calls are served durably."""

    status: Literal["ready"]
