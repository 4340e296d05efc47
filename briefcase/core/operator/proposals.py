"""Proposals: a policy that somebody asks for in words, shown with what it changes, and set only as it was shown.

    proposed -> applied | dropped | (past its time) ended

A prompt is one of `templates.FORMS`, or `cedar:` and policies, or what the operator's own command makes Cedar of
(`Prompting`). Whatever wrote it, the text is validated as one that is set is, and is nothing but a proposal: it is
applied by the digest of the document that shows it, over the policy it was made for. Those that wait are one setting of
the ledger, changed in the transaction of the receipt of who proposed, applied or dropped which.
"""

from __future__ import annotations

import difflib
from typing import Final, Literal, Protocol

import msgspec

from briefcase.core.operator.administration import Administration
from briefcase.core.operator.approvals import SHOWN_DIGEST, shown_digest_of
from briefcase.core.operator.policy import PolicyService
from briefcase.core.policy.check import parse_policy
from briefcase.core.policy.diff import diff_policies
from briefcase.core.policy.templates import FORMS, with_policies, write_policies
from briefcase.core.receipts.events import policy_proposal_event, policy_set_event
from briefcase.core.wire.proposals import DiffLine, DiffOp, PolicyProposal, ProposedChange
from briefcase.model.effects import Committed, Entry, PutSetting
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.ports import Clock, Entropy, Ledger
from briefcase.model.types import US_PER_S, JsonObject, format_rfc3339

SETTING: Final = "policy_proposals"
SUBJECT: Final = "policy_proposals:"
MAX_PROPOSALS: Final = 8
TTL_US: Final = 24 * 60 * 60 * US_PER_S
MAX_PROMPT_CHARS: Final = 4_000
CEDAR: Final = "cedar:"
LARGE_BYTES: Final = 64 << 10
CONTEXT_LINES: Final = 3
_OPS: Final[dict[str, DiffOp]] = {" ": "context", "+": "add", "-": "remove"}


class Prompting(Protocol):
    """The operator's own command, that makes a policy of a prompt (`adapters.prompting`)."""

    async def policy_of(self, prompt: str, policy_text: str) -> str:
        """The whole text that it would have in place of the policy's.

        Raises:
            UpstreamError: it failed.
        """
        ...


class Proposal(msgspec.Struct, frozen=True):
    """One that waits: `text` is the operator's whole text, `digest_hex` that of what would decide, over `base`."""

    id: str
    prompt: str
    by: str
    created_us: int
    expires_us: int
    base_digest_hex: str
    digest_hex: str
    text: str


class NotApplied(msgspec.Struct, frozen=True):
    """Why a proposal was not applied: `status` is `approval_required`, `denied` or `error`."""

    status: Literal["approval_required", "denied", "error"]
    message: str
    shown_digest_hex: str = ""


class ProposalAdmin:
    """Proposes, shows, applies and drops.

    Args:
        administration: tells whether a receipt can be made durable.
        policy: the active policy.
        ledger: holds those that wait.
        prompting: the operator's command; None where none is named.
        clock: tells when one ends.
        entropy: makes the ids.
    """

    def __init__(  # noqa: PLR0917 - built in one place
        self,
        administration: Administration,
        policy: PolicyService,
        ledger: Ledger,
        prompting: Prompting | None,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._administration = administration
        self._policy = policy
        self._ledger = ledger
        self._prompting = prompting
        self._clock = clock
        self._entropy = entropy

    def list(self) -> tuple[Proposal, ...]:
        """Those that wait, oldest first.

        Raises:
            StoreError: they cannot be read.
        """
        data, now_us = self._ledger.setting(SETTING), self._clock.now_us()
        try:
            kept = msgspec.json.decode(data, type=tuple[Proposal, ...]) if data else ()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError("the stored proposals cannot be read", detail=str(error)) from None
        return tuple(one for one in kept if now_us < one.expires_us)

    def proposal(self, proposal_id: str) -> Proposal:
        """One that waits.

        Raises:
            CallerError: none has this id (`not_found`).
        """
        found = next((one for one in self.list() if one.id == proposal_id), None)
        if found is None:
            raise CallerError(
                "no proposal that waits has this id", code="not_found", hint="see `briefcase policy proposals`"
            )
        return found

    def shown(self, proposal: Proposal) -> JsonObject:
        """The document that whoever applies it reads, `shown_digest_hex` with it."""
        base = self._policy.own_text()
        lines = difflib.unified_diff(base.splitlines(), proposal.text.splitlines(), n=CONTEXT_LINES, lineterm="")
        changes = diff_policies(parse_policy(base), parse_policy(proposal.text))
        shown = PolicyProposal(
            id=proposal.id,
            created_at=format_rfc3339(proposal.created_us),
            expires_at=format_rfc3339(proposal.expires_us),
            prompt=proposal.prompt,
            proposed_by=proposal.by,
            base_policy_hash_hex=proposal.base_digest_hex,
            proposed_policy_hash_hex=proposal.digest_hex,
            diff=[DiffLine(_OPS[line[0]], line[1:]) for line in list(lines)[2:] if line[0] in _OPS],
            policies=[ProposedChange(one.op, one.policy_id, one.old, one.new) for one in changes],
            proposed_policy_text=proposal.text,
            is_current=self._policy.current()[1] == proposal.base_digest_hex,
        )
        document: JsonObject = msgspec.to_builtins(shown)
        return {**document, SHOWN_DIGEST: shown_digest_of(document)}

    async def propose(self, prompt: str, by: str) -> Proposal:
        """Make a proposal of a prompt. Nothing is set.

        Args:
            prompt: what is asked for.
            by: who asks, for the receipt.

        Raises:
            CallerError: it is of no known form, too long, or its policies do not parse or validate (`invalid_policy`);
                there are too many (`conflict`), or a control plane manages the policy (`managed_by_control_plane`).
            UpstreamError: the command failed.
            StoreError: it could not be made durable.
        """
        # 1. check
        self._administration.check_open()
        self._policy.check_own()
        if len(self.list()) >= MAX_PROPOSALS:
            raise CallerError(
                f"{MAX_PROPOSALS} proposals wait already", code="conflict", hint="apply or drop one: `policy drop ID`"
            )

        # 2. the text, and whether it is sound over the policy as it is now
        proposal_id, base = self._entropy.uuid(), self._policy.current()[1]
        text = await self._text_of(prompt, proposal_id)
        candidate = await self._policy.prepare(text=text)
        digest_hex = candidate.compiled.digest_hex
        if digest_hex == base:
            raise CallerError("the policy says so already", code="conflict")

        # 3. one transaction
        now_us = self._clock.now_us()
        proposal = Proposal(proposal_id, prompt, by, now_us, now_us + TTL_US, base, digest_hex, text)
        async with self._administration.alone(SUBJECT):
            await self._store((*self.list(), proposal), policy_proposal_event("proposed", proposal_id, digest_hex, by))
        return proposal

    async def apply(self, proposal_id: str, shown_digest_hex: str | None, by: str) -> Committed | NotApplied:
        """Set what was proposed, exactly as it was shown.

        Args:
            proposal_id: which.
            shown_digest_hex: the digest of the document that was shown; None from who has seen none.
            by: who applies it, for the receipt.

        Raises:
            CallerError: none waits of this id (`not_found`); or as `PolicyService.set`.
            StoreError: it could not be made durable; the old policy stays.
        """
        self._administration.check_open()
        async with self._administration.alone(SUBJECT):
            return await self._apply(proposal_id, shown_digest_hex, by)

    async def _apply(self, proposal_id: str, shown_digest_hex: str | None, by: str) -> Committed | NotApplied:
        self._policy.check_own()
        proposal = self.proposal(proposal_id)
        document = self.shown(proposal)
        shown = str(document[SHOWN_DIGEST])
        if self._policy.current()[1] != proposal.base_digest_hex:
            return NotApplied("error", "the policy is another one since: drop it, and propose it again")
        if shown_digest_hex is None:
            return NotApplied("approval_required", "expected `shown_digest_hex` of the proposal as it is shown", shown)
        if shown_digest_hex != shown:
            return NotApplied("denied", "the proposal is not as it was shown: look at it again")
        candidate = await self._policy.prepare(text=proposal.text)
        self._policy.check_own()
        is_same = candidate.compiled.digest_hex == proposal.digest_hex
        if not is_same or self._policy.newest_digest_hex() != proposal.base_digest_hex:
            return NotApplied("error", "the policy is another one since: drop it, and propose it again")
        event = policy_set_event(by, proposal.base_digest_hex, proposal.digest_hex, candidate.policies)
        event |= {"proposal_id": proposal.id, "proposed_by": proposal.by, "shown_digest": shown_digest_hex}
        left = tuple(one for one in self.list() if one.id != proposal.id)
        return await self._policy.commit(candidate, event, (PutSetting(SETTING, msgspec.json.encode(left)),))

    async def drop(self, proposal_id: str, by: str) -> None:
        """Let a proposal go.

        Raises:
            CallerError: none waits of this id (`not_found`).
            StoreError: it could not be made durable; it waits on.
        """
        self._administration.check_open()
        async with self._administration.alone(SUBJECT):
            proposal = self.proposal(proposal_id)
            left = tuple(one for one in self.list() if one.id != proposal_id)
            await self._store(left, policy_proposal_event("dropped", proposal_id, proposal.digest_hex, by))

    async def _text_of(self, prompt: str, proposal_id: str) -> str:
        base = self._policy.own_text()
        if prompt.lstrip().lower().startswith(CEDAR):
            return with_policies(base, prompt.lstrip()[len(CEDAR) :])
        if not prompt.strip() or len(prompt) > MAX_PROMPT_CHARS:
            raise CallerError(f"expected a prompt of 1 to {MAX_PROMPT_CHARS:,} characters, got {len(prompt):,}")
        written = write_policies(prompt, f"proposal-{proposal_id[:8]}")
        if written is not None:
            return with_policies(base, written.text)
        if self._prompting is None:
            raise CallerError(
                "the prompt is of no known form",
                hint=f"say {', '.join(f'`{form}`' for form in FORMS)}; or `cedar:` and policies; or name a command"
                " that writes them (`[policy] prompt_command`)",
            )
        return await self._prompting.policy_of(prompt, base)

    async def _store(self, proposals: tuple[Proposal, ...], event: JsonObject) -> None:
        value = msgspec.json.encode(proposals)
        await self._administration.record(
            Entry(event, (PutSetting(SETTING, value),), is_large=len(value) > LARGE_BYTES)
        )
