"""Incident controls: what an operator switches on in a minute, and what can only ever tighten.

| action | subject | effect on a call | reason word |
|---|---|---|---|
| `freeze` | everything | denied; operators are still served | `frozen` |
| `disable` | a tool, a source (provider, server) | denied | `disabled` |
| `require_approval` | a tool, a category, an agent, a source | waits for a person | `tightened` |

A control may end by itself at a time. Each one is stored in the ledger with the receipt of who set or lifted it; a
lifted or ended control gives back what policy says and nothing more, because a control never allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from briefcase.model.effects import Entry, PutSetting
from briefcase.model.errors import CallerError
from briefcase.model.ports import Clock, Entropy, Ledger
from briefcase.model.reasons import DISABLED, FROZEN, TIGHTENED
from briefcase.model.types import Allow, ApprovalKind, Deny, NeedsApproval, Principal, ToolSpec, Verdict, format_rfc3339
from briefcase.receipts.events import control_event

SETTING: Final = "controls"
MAX_CONTROLS: Final = 1_000
MAX_NAME_CHARS: Final = 256

Action = Literal["freeze", "disable", "require_approval"]
Subject = Literal["all", "tool", "category", "agent", "source"]

SUBJECTS: Final[dict[str, frozenset[str]]] = {
    "freeze": frozenset({"all"}),
    "disable": frozenset({"tool", "source"}),
    "require_approval": frozenset({"tool", "category", "agent", "source"}),
}


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
        return NeedsApproval(ApprovalKind.LOCAL, TIGHTENED, verdict.policy_ids, detail)
    return verdict


class Controls:
    """The controls in force, kept in the ledger. All methods are called from one event loop.

    Args:
        ledger: where they are stored, each change with its receipt.
        clock: tells when one has ended.
        entropy: names new ones.
    """

    def __init__(self, ledger: Ledger, clock: Clock, entropy: Entropy) -> None:
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy
        stored = ledger.setting(SETTING)
        self._controls = msgspec.json.decode(stored, type=tuple[Control, ...]) if stored else ()
        self._asked = self._controls  # what the last commit asked for stores; commits take effect in their order

    def active(self) -> tuple[Control, ...]:
        """What holds now, oldest first."""
        now_us = self._clock.now_us()
        return tuple(control for control in self._controls if is_active(control, now_us))

    def apply(self, verdict: Verdict, principal: Principal, spec: ToolSpec, now_us: int) -> Verdict:
        """`apply_controls` with what is in force."""
        if not self._controls:
            return verdict
        return apply_controls(verdict, self._controls, principal, spec, now_us)

    async def add(self, action: Action, subject: Subject, name: str, *, until_us: int | None, by: str) -> Control:
        """Switch one on; durable and in force when this returns.

        Raises:
            CallerError: the action is not for that subject, the name is empty or too long, or the end has passed.
            StoreError: it could not be made durable; nothing changed.
        """
        now_us = self._clock.now_us()
        if subject not in SUBJECTS[action]:
            raise CallerError(f"expected `{action}` of one of {', '.join(sorted(SUBJECTS[action]))}, got `{subject}`")
        if bool(name) == (subject == "all") or len(name) > MAX_NAME_CHARS:
            raise CallerError(f"expected a name of 1 to {MAX_NAME_CHARS} characters for `{subject}`")
        if until_us is not None and until_us <= now_us:
            raise CallerError("expected an end in the future")
        control = Control(self._entropy.uuid(), action, subject, name, by, now_us, until_us)
        if len(self.active()) >= MAX_CONTROLS:
            raise CallerError(f"{MAX_CONTROLS} controls are in force already", hint="lift some first")
        self._controls = (*self.active(), control)  # at once: tightening need not wait for the disk
        try:
            await self._store((*self._asked, control), "set", control, by)
        except BaseException:
            self._controls, self._asked = _without(self._controls, control), _without(self._asked, control)
            raise
        return control

    async def lift(self, chosen: Callable[[Control], bool], *, by: str) -> tuple[Control, ...]:
        """Switch off every one that is chosen. Returns them.

        Raises:
            StoreError: one could not be made durable; it and those after it are still in force.
        """
        lifted = tuple(control for control in self.active() if chosen(control))
        for control in lifted:
            try:
                await self._store(_without(self._asked, control), "lifted", control, by)
            except BaseException:
                self._asked = (*_without(self._asked, control), control)
                raise
            self._controls = _without(self._controls, control)
        return lifted

    async def _store(self, controls: tuple[Control, ...], what: str, control: Control, by: str) -> None:
        now_us = self._clock.now_us()
        self._asked = tuple(c for c in controls if is_active(c, now_us))
        event = control_event(what, control.id, control.action, f"{control.subject}:{control.name}", by)
        if control.until_us is not None:
            event["until"] = format_rfc3339(control.until_us)
        await self._ledger.commit(Entry(event, (PutSetting(SETTING, msgspec.json.encode(self._asked)),)))


def _without(controls: tuple[Control, ...], control: Control) -> tuple[Control, ...]:
    return tuple(c for c in controls if c.id != control.id)
