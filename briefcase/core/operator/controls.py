"""Incident controls: an operator tightens, and gives back what was tightened. The rules: `briefcase.core.controls`.

A control is in the ledger, so it changes in the transaction of its receipt: a crash leaves both or neither. One that is
set holds before it is durable, because tightening need not wait for the disk.
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core.controls import Action, Control, Controls, Subject, is_about
from briefcase.core.operator.administration import Administration
from briefcase.core.receipts.events import control_event
from briefcase.model.errors import CallerError
from briefcase.model.ports import AgentStore, Clock, Entropy, Tools
from briefcase.model.types import JsonObject, Principal, format_rfc3339

MAX_CONTROLS: Final = 1_000
MAX_NAME_CHARS: Final = 256

SUBJECTS: Final[dict[str, frozenset[str]]] = {
    "freeze": frozenset({"all"}),
    "disable": frozenset({"tool", "source"}),
    "require_approval": frozenset({"tool", "category", "agent", "source"}),
}


class ControlChoice(msgspec.Struct, frozen=True):
    """Which controls are meant: those that match each field that is given, and at least one is."""

    id: str | None = None
    action: Action | None = None
    subject: Subject | None = None
    name: str | None = None

    def is_of(self, control: Control) -> bool:
        """Whether a control matches."""
        wanted = ((field, getattr(self, field)) for field in self.__struct_fields__)
        return all(value is None or getattr(control, field) == value for field, value in wanted)


class ControlAdmin:
    """Sets and lifts controls.

    Args:
        administration: tells whether a receipt can be made durable.
        controls: what is in force.
        agents: tells which agents there are.
        tools: tells which tools there are.
        clock: tells when one was set.
        entropy: names new ones.
    """

    def __init__(  # noqa: PLR0917 - the ports of the noun, each named once, here
        self,
        administration: Administration,
        controls: Controls,
        agents: AgentStore,
        tools: Tools,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._administration = administration
        self._controls = controls
        self._agents = agents
        self._tools = tools
        self._clock = clock
        self._entropy = entropy

    async def add(self, action: Action, subject: Subject, name: str, *, until_us: int | None, by: str) -> Control:
        """Switch one on; durable and in force when this returns.

        Args:
            action: what it does.
            subject: what it is about.
            name: which one; empty for `all`.
            until_us: when it ends by itself, microseconds; None until it is lifted.
            by: who sets it, for the receipt.

        Raises:
            CallerError: the action is not for that subject, the name is empty or too long, the end has passed, or
                there are too many.
            StoreError: it could not be made durable; nothing changed.
        """
        # 1. check
        now_us = self._clock.now_us()
        if subject not in SUBJECTS[action]:
            raise CallerError(f"expected `{action}` of one of {', '.join(sorted(SUBJECTS[action]))}, got `{subject}`")
        if bool(name) == (subject == "all") or len(name) > MAX_NAME_CHARS:
            raise CallerError(f"expected a name of 1 to {MAX_NAME_CHARS} characters for `{subject}`")
        if until_us is not None and until_us <= now_us:
            raise CallerError("expected an end in the future")
        if len(self._controls.active()) >= MAX_CONTROLS:
            raise CallerError(f"{MAX_CONTROLS} controls are in force already", hint="lift some first")
        self._administration.check_open()

        # 2. change and receipt, one transaction
        control = Control(self._entropy.uuid(), action, subject, name, by, now_us, until_us)
        await self._controls.switch_on(control, _event("set", control, by))
        return control

    async def lift(self, choice: ControlChoice, *, by: str) -> tuple[Control, ...]:
        """Switch off every one that is meant.

        Raises:
            CallerError: no field is given, or none in force matches (`not_found`).
            StoreError: one could not be made durable; it and those after it are still in force.

        Returns:
            Those that were switched off.
        """
        # 1. check
        if choice == ControlChoice():
            raise CallerError("expected at least one of `id`, `action`, `subject`, `name`")
        lifted = tuple(filter(choice.is_of, self._controls.active()))
        if not lifted:
            raise CallerError("no control in force matches", code="not_found", hint="see `briefcase tighten list`")
        self._administration.check_open()

        # 2. change and receipt, one transaction each
        for control in lifted:
            await self._controls.switch_off(control, _event("lifted", control, by))
        return lifted

    async def is_known(self, control: Control, asker: Principal) -> bool:
        """Whether anything of a control's name exists now; where not, it was set early, or mistyped."""
        if control.subject == "agent":
            active = {agent.name for agent in await self._agents.list() if agent.revoked_us is None}
            return control.name in {asker.name, *active}
        return any(is_about(control, asker, spec) for spec in self._tools.specs())


def _event(what: str, control: Control, by: str) -> JsonObject:
    event = control_event(what, control.id, control.action, f"{control.subject}:{control.name}", by)
    return event if control.until_us is None else event | {"until": format_rfc3339(control.until_us)}
