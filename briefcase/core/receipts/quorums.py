"""Which cosignatures are enough: a trust policy of logs, witnesses, groups and one quorum (C2SP tlog-policy).

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...
    quorum <name>|none

Lines end with a newline; words are separated by spaces and tabs alone; an empty line, and one that begins with `#`, say
nothing. The file is read as bytes (no encoding is asked of names), and strictly: what an older or a newer reader could
understand otherwise is refused with its line. A line that a later version may add is refused, too: who does not know it
cannot know what it asks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from briefcase.core.receipts.note_keys import LOG_ED25519, NoteKey, parse_cosigner_vkey, parse_vkey
from briefcase.model.errors import CallerError

MAX_POLICY_BYTES: Final = 1 << 20
MAX_LOGS: Final = 256
MAX_WITNESSES: Final = 256
MAX_GROUPS: Final = 256
NONE: Final = "none"
_CONTROL: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_WORDS: Final = re.compile(r"[^ \t]+")


class Group(msgspec.Struct, frozen=True):
    """Members of which at least `threshold` must have witnessed a checkpoint."""

    threshold: int
    members: tuple[str, ...]


class WitnessPolicy(msgspec.Struct, frozen=True):
    """A policy as read; a name of `witnesses` or `groups` is a name of the policy, and no key's."""

    quorum: str
    logs: tuple[NoteKey, ...] = ()
    witnesses: dict[str, NoteKey] = {}
    groups: dict[str, Group] = {}

    @property
    def keys(self) -> tuple[NoteKey, ...]:
        """The witnesses' keys."""
        return tuple(self.witnesses.values())

    @property
    def quorum_text(self) -> str:
        """The name of the quorum, to be shown."""
        return _shown(self.quorum)

    def takes_log(self, key: NoteKey) -> bool:
        """Whether a log is one of those listed; a policy that lists none takes the one its user names."""
        return not self.logs or key in self.logs

    def is_met(self, keys: Collection[NoteKey]) -> bool:
        """Whether the witnesses with these keys are a quorum."""
        if self.quorum == NONE:
            return True
        met = {name: key in keys for name, key in self.witnesses.items()}
        for name, group in self.groups.items():  # each refers only to what stands before it
            met[name] = sum(met[member] for member in group.members) >= group.threshold
        return met[self.quorum]


def all_of(keys: Sequence[NoteKey]) -> WitnessPolicy:
    """The policy that holds where nobody wrote one: every witness must have cosigned."""
    if not keys:
        return WitnessPolicy(NONE)
    witnesses = {key.label: key for key in keys}
    return WitnessPolicy("all", (), witnesses, {"all": Group(len(witnesses), tuple(witnesses))})


def parse_policy(data: bytes) -> WitnessPolicy:
    """Read a policy file.

    Raises:
        CallerError: a line is not as expected; the message names it.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise CallerError(f"expected a policy of at most {MAX_POLICY_BYTES} bytes, got {len(data)}")
    if data and not data.endswith(b"\n"):
        last = data.count(b"\n") + 1
        raise CallerError(f"line {last}: expected a newline at its end")
    return _Reader().read(data)


_Words: TypeAlias = Sequence[str]


class _Reader:
    """Takes the lines of a policy in their order."""

    def __init__(self) -> None:
        self._logs: list[NoteKey] = []
        self._witnesses: dict[str, NoteKey] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._quorum = ""
        self._takes: dict[str, Callable[[_Words], None]] = {
            "log": self._take_log,
            "witness": self._take_witness,
            "group": self._take_group,
            "quorum": self._take_quorum,
        }

    def read(self, data: bytes) -> WitnessPolicy:
        """Read all lines. Raises as `parse_policy`."""
        for number, words in _lines(data):
            take = self._takes.get(words[0])
            if take is None:
                known = ", ".join(self._takes)
                raise CallerError(f"line {number}: expected {known} or a comment, got `{_shown(words[0])}`")
            try:
                take(words[1:])
            except CallerError as error:
                raise CallerError(f"line {number}: {error.message}", hint=error.hint) from None
        if not self._quorum:
            raise CallerError("expected a line `quorum NAME`, found none")
        return WitnessPolicy(self._quorum, tuple(self._logs), self._witnesses, self._groups)

    def _take_log(self, words: _Words) -> None:
        _check_count(words, 1, 2, "log VKEY [URL]")
        key = parse_vkey(_text(words[0]))
        if key.type != LOG_ED25519:
            raise CallerError(f"expected the key of a log ({LOG_ED25519:#04x}), got one of type {key.type:#04x}")
        _check_new(key, self._logs, MAX_LOGS)
        self._logs.append(key)

    def _take_witness(self, words: _Words) -> None:
        _check_count(words, 2, 3, "witness NAME VKEY [URL]")
        self._check_name(words[0])
        key = parse_cosigner_vkey(_text(words[1]))
        _check_new(key, self._witnesses.values(), MAX_WITNESSES)
        self._witnesses[words[0]] = key

    def _take_group(self, words: _Words) -> None:
        _check_count(words, 3, None, "group NAME all|any|K NAME...")
        name, count, *members = words
        self._check_name(name)
        if len(self._groups) >= MAX_GROUPS:
            raise CallerError(f"expected at most {MAX_GROUPS} groups")
        for member in members:
            if member not in self._witnesses and member not in self._groups:
                raise CallerError(f"expected members from the lines before it, got `{_shown(member)}`")
            if member in self._members:
                raise CallerError(f"`{_shown(member)}` is a member already: a witness counts in one way only")
            self._members.add(member)
        self._groups[name] = Group(_threshold(count, len(members)), tuple(members))

    def _take_quorum(self, words: _Words) -> None:
        _check_count(words, 1, 1, "quorum NAME")
        if self._quorum:
            raise CallerError("expected one line `quorum NAME`, got another")
        if words[0] != NONE and words[0] not in self._witnesses and words[0] not in self._groups:
            raise CallerError(f"expected a witness or a group from the lines before it, got `{_shown(words[0])}`")
        self._quorum = words[0]

    def _check_name(self, name: str) -> None:
        if name == NONE:
            raise CallerError("`none` is no name: it is the quorum of nobody")
        if name in self._witnesses or name in self._groups:
            raise CallerError(f"the name `{_shown(name)}` is given already")


def _lines(data: bytes) -> Iterator[tuple[int, _Words]]:
    """Each line that says something, with its number; words hold bytes as characters of Latin-1."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        bad = _CONTROL.search(line)
        if bad is not None:
            raise CallerError(f"line {number}: expected no control character but tab and newline, got {bad[0][0]:#04x}")
        words = _WORDS.findall(line.decode("latin-1"))
        if words and not words[0].startswith("#"):
            yield number, words


def _threshold(count: str, members: int) -> int:
    if count == "all":
        return members
    if count == "any":
        return 1
    if not _COUNT.fullmatch(count) or int(count) > members:
        raise CallerError(f"expected `all`, `any` or a number from 1 to {members}, got `{_shown(count)}`")
    return int(count)


def _check_count(words: _Words, least: int, most: int | None, form: str) -> None:
    if len(words) < least or (most is not None and len(words) > most):
        raise CallerError(f"expected `{form}`")


def _check_new(key: NoteKey, known: Collection[NoteKey], most: int) -> None:
    """Two keys are the same where their bytes are, whatever their names and types (C2SP tlog-policy)."""
    if any(key.public_key == other.public_key for other in known):
        raise CallerError(f"the key of `{key.name}` is listed already")
    if len(known) >= most:
        raise CallerError(f"expected at most {most} of them")


def _text(word: str) -> str:
    try:
        return word.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise CallerError("expected a verifier key in UTF-8") from None


def _shown(word: str) -> str:
    return word.encode("latin-1").decode("utf-8", "backslashreplace")[:64]
