"""What the notifier remembers over its end: up to where it read, what each target was not told yet, dead letters.

| file beside `notifier.toml` | holds | written |
|---|---|---|
| `notifier.lock` | nothing; one notifier at a time has its lock | never |
| `notifier.state` | cursor, and the events of each target that were not told | before anything is sent, and after |
| `notifier.dead/ID.json` | a message that a target did not take in all its attempts | when it is given up |

A crash before a message's end was noted sends it once more, under the same id: never none. Each file is written whole
(`disk.files`), so a crash leaves the old one or the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.disk.directories import make_private_dirs
from briefcase.adapters.disk.files import read_private, write_private
from briefcase.edges.notifier.daemon import Cursor
from briefcase.edges.notifier.events import Event
from briefcase.edges.notifier.wording import Message
from briefcase.model.errors import ConfigError

MAX_WAITING: Final = 1_000  # events of one target; the oldest are dropped, and the next message says how many
MAX_DEAD: Final = 1_000  # letters; the oldest go
LOCK_FILE: Final = "notifier.lock"
_STATE_FILE: Final = "notifier.state"
_DEAD_DIR: Final = "notifier.dead"


class Lane(msgspec.Struct):
    """What one target was not told yet, oldest first; `dropped` came before that and was too much.

    `leaving` is the message that is being sent: after a crash it is sent again as it was, under its id.
    """

    waiting: list[Event] = []
    dropped: int = 0
    leaving: Message | None = None

    def put(self, event: Event) -> None:
        """Add an event; too many drop the oldest."""
        self.waiting.append(event)
        if len(self.waiting) > MAX_WAITING:
            del self.waiting[0]
            self.dropped += 1

    def send(self, events: Sequence[Event], message: Message) -> Message:
        """Take events out of the lane as the message that is being sent."""
        told = {event.id for event in events}
        self.waiting = [event for event in self.waiting if event.id not in told]
        self.dropped, self.leaving = 0, message
        return message


class State(msgspec.Struct):
    """The whole of `notifier.state`."""

    cursor: Cursor = Cursor()
    lanes: dict[str, Lane] = {}


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that a target did not take: `problem` says why, `given_up_at` when (RFC 3339)."""

    target: str
    message: Message
    problem: str
    given_up_at: str

    @property
    def id(self) -> str:
        """Its name: the same for the same message of the same target."""
        return hashlib.sha256(f"{self.target}\n{self.message.id}".encode()).hexdigest()[:16]


class Store:
    """The files of one notifier, beside its settings.

    Args:
        config: where `notifier.toml` is.
    """

    def __init__(self, config: Path) -> None:
        self._directory = config.parent

    @property
    def lock_path(self) -> Path:
        """The file whose lock one notifier holds."""
        return self._directory / LOCK_FILE

    def read(self) -> State:
        """What was remembered; the first time, nothing.

        Raises:
            ConfigError: the file is not its owner's alone, or not the notifier's.
            StoreError: it cannot be read.
        """
        path = self._directory / _STATE_FILE
        data = read_private(path)
        try:
            return State() if data is None else msgspec.json.decode(data, type=State)
        except msgspec.DecodeError:
            raise ConfigError(
                f"`{path}` is not what a notifier wrote", hint="remove it: what waits is told of again, nothing older"
            ) from None

    def write(self, state: State) -> None:
        """Remember; durable when this returns.

        Raises:
            StoreError: the disk refused; what was remembered before is untouched.
        """
        write_private(self._directory / _STATE_FILE, msgspec.json.encode(state))

    def bury(self, letter: DeadLetter) -> None:
        """Keep a message that was given up. Raises as `write`, or `OSError`."""
        directory = self._directory / _DEAD_DIR
        make_private_dirs(directory)
        write_private(directory / f"{letter.id}.json", msgspec.json.encode(letter))
        for path in sorted(self._dead(), key=lambda one: one.stat().st_mtime_ns)[:-MAX_DEAD]:
            path.unlink(missing_ok=True)

    def dead(self) -> list[DeadLetter]:
        """The letters that were given up, oldest first; a file that is none is passed over."""
        return sorted(self._letters(), key=lambda one: one.given_up_at)

    def forget(self, letter: DeadLetter) -> None:
        """Drop a letter, after it was delivered or is not wanted."""
        (self._directory / _DEAD_DIR / f"{letter.id}.json").unlink(missing_ok=True)

    def _letters(self) -> Iterator[DeadLetter]:
        for path in self._dead():
            data = read_private(path)
            if data is not None:
                try:
                    yield msgspec.json.decode(data, type=DeadLetter)
                except msgspec.DecodeError:
                    continue

    def _dead(self) -> list[Path]:
        return list((self._directory / _DEAD_DIR).glob("*.json"))
