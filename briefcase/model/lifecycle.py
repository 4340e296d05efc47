"""Lifecycles as literal tables: which state may follow which. A forbidden step raises, everywhere.

Where a step comes from outside (a person decides an approval that has ended), ask `may` first and answer with a value;
`check_step` is for steps that the code itself takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from briefcase.model.errors import InternalError

StateT = TypeVar("StateT", bound=StrEnum)


class Lifecycle(Generic[StateT]):
    """The table of one kind of thing.

    Args:
        noun: what has this life, for the message.
        steps: the states that may follow each state; every state has its row.
    """

    def __init__(self, noun: str, steps: Mapping[StateT, frozenset[StateT]]) -> None:
        self._noun = noun
        self.steps = steps

    def may(self, now: StateT, to: StateT) -> bool:
        """Whether a state may follow another."""
        return to in self.steps[now]

    def check_step(self, now: StateT, to: StateT) -> None:
        """Check one step before it is taken.

        Raises:
            InternalError: the table does not have it.
        """
        if to not in self.steps[now]:
            raise InternalError(f"{self._noun} cannot go from `{now}` to `{to}`")
