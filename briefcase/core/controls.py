"""Incident controls: what an operator switches on in a minute, and what can only ever tighten.

| action | subject | effect on a call | reason word |
|---|---|---|---|
| `freeze` | everything | denied; operators are still served | `frozen` |
| `disable` | a tool, a source (provider, server) | denied | `disabled` |
| `require_approval` | a tool, a category, an agent, a source | waits for a person | `tightened` |

A control may end by itself at a time. Each one is stored in the ledger with the receipt of who set or lifted it
(`operator.controls`); a lifted or ended control gives back what policy says and nothing more, because a control never
allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from briefcase.model.effects import Entry, PutSetting, Refused
from briefcase.model.errors import StoreError
from briefcase.model.ports import Clock, Ledger
from briefcase.model.reasons import DISABLED, FROZEN, TIGHTENED
from briefcase.model.types import (
    Allow,
    ApprovalKind,
    Deny,
    JsonObject,
    NeedsApproval,
    Principal,
    ToolSpec,
    Verdict,
    asking,
)

SETTING: Final = "controls"

Action = Literal["freeze", "disable", "require_approval"]
Subject = Literal["all", "tool", "category", "agent", "source"]


class Control(msgspec.Struct, frozen=True):
    """One control. `name` is the tool id, category, agent or source it is about; `until_us` None means until lifted."""

    id: str
    action: Action
    subject: Subject
    name: str
    by: str
    created_us: int
    until_us: int | None = None


def is_active(control: Control, now_us: int) -> bool:
    """Whether a control still holds at a moment."""
    return control.until_us is None or now_us < control.until_us


def is_about(control: Control, principal: Principal, spec: ToolSpec) -> bool:
    """Whether a control concerns a call."""
    match control.subject:
        case "all":
            return True
        case "tool":
            return control.name == spec.id
        case "category":
            return control.name == spec.category
        case "agent":
            return control.name == principal.name
        case "source":
            return control.name == spec.source


def apply_controls(
    verdict: Verdict, controls: Sequence[Control], principal: Principal, spec: ToolSpec, now_us: int
) -> Verdict:
    """Tighten a verdict by the controls that concern the call: a denial stays one, and nothing becomes allowed."""
    held = [c for c in controls if is_active(c, now_us) and is_about(c, principal, spec)]
    if not held or isinstance(verdict, Deny):
        return verdict
    actions = {control.action for control in held}
    detail = f"controls {', '.join(control.id for control in held)}"
    if "freeze" in actions:
        return Deny(FROZEN, verdict.policy_ids, detail)
    if "disable" in actions:
        return Deny(DISABLED, verdict.policy_ids, detail)
    if isinstance(verdict, Allow):
        return asking(verdict, ApprovalKind.LOCAL, TIGHTENED, detail)
    return verdict


def stricter(one: Verdict, other: Verdict) -> Verdict:
    """The verdict that lets less through, with the policies of both.

    As many approvers must say yes as either asks for, and none whom either excludes.
    """
    ids = tuple(dict.fromkeys((*one.policy_ids, *other.policy_ids)))
    chosen = msgspec.structs.replace(max(one, other, key=_strictness), policy_ids=ids)
    if isinstance(chosen, Deny) or isinstance(one, Deny) or isinstance(other, Deny):
        return chosen
    return msgspec.structs.replace(
        chosen,
        approvers=max(one.approvers, other.approvers),
        excludes_author=one.excludes_author or other.excludes_author,
    )


class Controls:
    """The controls in force, kept in the ledger. All methods are called from one event loop.

    Args:
        ledger: where they are stored, each change with its receipt.
        clock: tells when one has ended.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        stored = ledger.setting(SETTING)
        self._controls = msgspec.json.decode(stored, type=tuple[Control, ...]) if stored else ()
        self._asked = self._controls  # what the last commit asked for stores; commits take effect in their order

    def active(self) -> tuple[Control, ...]:
        """What holds now, oldest first."""
        now_us = self._clock.now_us()
        return tuple(control for control in self._controls if is_active(control, now_us))

    def is_disabled(self, source: str) -> bool:
        """Whether a control in force disables a source as a whole: nothing is to be sent there."""
        return any(c.action == "disable" and (c.subject, c.name) == ("source", source) for c in self.active())

    def apply(self, verdict: Verdict, principal: Principal, spec: ToolSpec, now_us: int) -> Verdict:
        """`apply_controls` with what is in force."""
        if not self._controls:
            return verdict
        return apply_controls(verdict, self._controls, principal, spec, now_us)

    async def switch_on(self, control: Control, event: JsonObject) -> None:
        """Put one in force, at once: tightening need not wait for the disk. Durable when this returns.

        Args:
            control: the new one.
            event: its receipt.

        Raises:
            StoreError: it could not be made durable; nothing changed.
        """
        self._controls = (*self.active(), control)
        try:
            await self._store((*self._asked, control), event)
        except BaseException:
            self._controls, self._asked = _without(self._controls, control), _without(self._asked, control)
            raise

    async def switch_off(self, control: Control, event: JsonObject) -> None:
        """Take one out of force, once that is durable. Raises as `switch_on`; then it is still in force."""
        try:
            await self._store(_without(self._asked, control), event)
        except BaseException:
            self._asked = (*_without(self._asked, control), control)
            raise
        self._controls = _without(self._controls, control)

    async def _store(self, controls: tuple[Control, ...], event: JsonObject) -> None:
        now_us = self._clock.now_us()
        self._asked = tuple(c for c in controls if is_active(c, now_us))
        committed = await self._ledger.commit(Entry(event, (PutSetting(SETTING, msgspec.json.encode(self._asked)),)))
        if isinstance(committed, Refused):
            raise StoreError(f"the control was not stored: {committed.reason}")


def _without(controls: tuple[Control, ...], control: Control) -> tuple[Control, ...]:
    return tuple(c for c in controls if c.id != control.id)


def _strictness(verdict: Verdict) -> int:
    if isinstance(verdict, NeedsApproval):
        return 2 if verdict.kind is ApprovalKind.MOBILE_SIGNER else 1
    return 3 if isinstance(verdict, Deny) else 0
