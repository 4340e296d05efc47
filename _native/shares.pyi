"""What each principal's work takes of the event loop, measured at every step of its tasks."""

from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

_T = TypeVar("_T")

LIMIT_NS: int  # of the processor, lately: about a sixth of the loop for one who goes on so

class Account:
    """The time of the processor that a principal's work took lately: what is 0.27 s ago counts half."""

    def __init__(self) -> None: ...
    @property
    def used_ns(self) -> int:
        """How much it is, now."""

    def charge(self, took_ns: int) -> None:
        """Add work that no task of the principal did, but that was done for it."""

    def forgive(self) -> None:
        """Begin anew: nobody else wanted the loop."""

    def was_here(self, within_ns: int) -> bool:
        """Whether something of its principal went on so short a time ago."""

class Meter:
    """Whose work a task does at present: `account` may change while it runs."""

    account: Account

    def __init__(self, account: Account) -> None: ...
    @property
    def is_over(self) -> bool:
        """Whether the account was over `LIMIT_NS` when its last step ended."""

class Metered(Coroutine[Any, Any, _T]):
    """A coroutine each of whose steps is charged to the account that its meter names when the step ends."""

    def __init__(self, coroutine: Coroutine[Any, Any, _T], meter: Meter) -> None: ...
    def __await__(self) -> Generator[Any, Any, _T]: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, *what: Any) -> Any: ...
    def close(self) -> None: ...
