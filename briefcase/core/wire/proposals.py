"""Proposals of a policy on the wire: what is asked for, what it would change, and what became of it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from briefcase.core.wire.fields import HashHex, Maybe

DiffOp: TypeAlias = Literal["context", "add", "remove"]


class PromptRequest(msgspec.Struct, frozen=True):
    """What a policy is to say, in words, or `cedar:` and policies."""

    prompt: str


class DiffLine(msgspec.Struct, frozen=True):
    """One line of the difference from the policy that decides now."""

    op: DiffOp
    text: str


class ProposedChange(msgspec.Struct, frozen=True):
    """One policy that differs, by its `@id` or place; `old` and `new` are its texts, or empty."""

    op: str
    policy_id: str
    old: str
    new: str


class PolicyProposal(msgspec.Struct, frozen=True):
    """A policy that is proposed and was validated; `is_current` where the policy it was made for still decides.

    `shown_digest_hex` is the SHA-256 of the RFC 8785 JSON of all the other fields.
    """

    id: str
    created_at: str
    expires_at: str
    prompt: str
    proposed_by: str
    base_policy_hash_hex: HashHex
    proposed_policy_hash_hex: HashHex
    diff: list[DiffLine]
    policies: list[ProposedChange]
    proposed_policy_text: str
    is_current: bool
    shown_digest_hex: Maybe[HashHex] = msgspec.UNSET


class Compiled(msgspec.Struct, frozen=True):
    """What a prompt came to. Nothing is set."""

    proposal: PolicyProposal


class ProposalList(msgspec.Struct, frozen=True):
    """Those that wait, oldest first."""

    proposals: list[PolicyProposal]


class ApplyRequest(msgspec.Struct, frozen=True):
    """The digest of the proposal as it was shown; without it nothing is applied."""

    shown_digest_hex: HashHex | None = None


class Applied(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of it: `applied` with the digest of what decides now, or why not."""

    status: Literal["applied", "approval_required", "denied", "error"]
    policy_hash_hex: Maybe[HashHex] = msgspec.UNSET
    message: Maybe[str] = msgspec.UNSET
    shown_digest_hex: Maybe[HashHex] = msgspec.UNSET


class Dropped(msgspec.Struct, frozen=True):
    """Let go."""

    proposal_id: str
