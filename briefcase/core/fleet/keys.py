"""The chain of a control plane's signing keys: from the pinned one to those that each named after itself. Pure.

A control plane says which key comes after which by words that the earlier key signed (`envelopes.NextKey`): the present
one about the next (`keys`), and those before it, the oldest first (`key_chain`). A device follows them from the key it
has pinned, so one that was away for several rotations needs nothing but the words:

 1. the word is signed by the key that was reached so far                            others are passed over
 2. it names a key, and says when it was written                                     `malformed_bundle`
 3. that key was not passed on the way, and signed nothing here before another did   `signing_key_fell`
 4. of two words of the pinned key the later one counts                              `signing_key_fell`

INVARIANT (pin): a key that another one took the place of is never pinned again, nor is anything taken that it signs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from briefcase.core.fleet.bundles import BundleError, PolicyKey, check_key
from briefcase.core.fleet.envelopes import read_next_key
from briefcase.core.fleet.words import INVALID_SIGNATURE, KEY_FELL, MALFORMED
from briefcase.model.types import JsonObject, parse_rfc3339

MAX_WORDS: Final = 64
MAX_SUCCESSORS: Final = 256


class NamedKey(msgspec.Struct, frozen=True):
    """A key that the one before it named, and when (microseconds)."""

    key_b64: PolicyKey
    issued_us: int


class KeyWalk(msgspec.Struct, frozen=True):
    """The pinned key, the keys that follow it, and what was wrong with a word, where one was."""

    pinned: PolicyKey
    named: tuple[NamedKey, ...] = ()
    problem: BundleError | None = None

    @property
    def keys(self) -> tuple[PolicyKey, ...]:
        """The keys that may sign, the pinned one first."""
        return (self.pinned, *(named.key_b64 for named in self.named))

    def after(self, key_b64: PolicyKey) -> NamedKey | None:
        """The key that one of these keys named, where it did."""
        at = self.keys.index(key_b64)
        return self.named[at] if at < len(self.named) else None


def walk_keys(
    words: Sequence[JsonObject],
    pinned: PolicyKey,
    announced: NamedKey | None,
    successors: Mapping[PolicyKey, PolicyKey],
) -> KeyWalk:
    """Follow the words of a control plane's keys.

    Args:
        words: the envelopes as they came, the oldest first.
        pinned: the key that a device has pinned.
        announced: the key that the pinned one is known to have named.
        successors: which key took the place of which here.

    Returns:
        The keys that may sign. A word that leads elsewhere ends the walk, and what was reached before it counts.
    """
    known = () if announced is None else (announced,)
    if len(words) > MAX_WORDS:
        problem = f"expected at most {MAX_WORDS} words of signing keys, got {len(words)}"
        return KeyWalk(pinned, known, BundleError(MALFORMED, problem))
    walk = _follow(words, KeyWalk(pinned), announced, successors)
    if walk.named or announced is None:
        return walk
    further = _follow(words, KeyWalk(pinned, known), None, successors)
    return msgspec.structs.replace(further, problem=walk.problem or further.problem)


def latest_key(key_b64: PolicyKey, successors: Mapping[PolicyKey, PolicyKey]) -> PolicyKey:
    """The key that took a key's place here, and so on; the key itself where none did."""
    for _ in range(len(successors)):
        key_b64 = successors.get(key_b64, key_b64)
    return key_b64


def with_successors(successors: Mapping[PolicyKey, PolicyKey], way: Sequence[PolicyKey]) -> dict[PolicyKey, PolicyKey]:
    """The successors once the last key of a way is pinned in place of the first; the oldest are forgotten."""
    longer = {**successors, **dict(pairwise(way))}
    return dict(list(longer.items())[-MAX_SUCCESSORS:])


def _follow(
    words: Sequence[JsonObject],
    begun: KeyWalk,
    announced: NamedKey | None,
    successors: Mapping[PolicyKey, PolicyKey],
) -> KeyWalk:
    """A walk that was begun, as far as words lead."""
    walk = begun
    for word in words:
        reached = walk.keys[-1]
        # 1. and 2. whose word it is, and what it says
        try:
            said = _named_by(word, reached)
        except BundleError as error:
            if error.reason != INVALID_SIGNATURE:
                walk = _wrong(walk, error.reason, error.problem)
            continue
        # 3. no way back
        if said.key_b64 in walk.keys or said.key_b64 in successors:
            return _wrong(walk, KEY_FELL, "a word names a signing key that another one took the place of")
        # 4. the later word
        if announced is not None and reached == walk.pinned and _is_older(said, announced):
            walk = _wrong(walk, KEY_FELL, "a word of the pinned key is older than one that is known")
            continue
        walk = msgspec.structs.replace(walk, named=(*walk.named, said))
    return walk


def _is_older(said: NamedKey, known: NamedKey) -> bool:
    return said.key_b64 != known.key_b64 and said.issued_us <= known.issued_us


def _wrong(walk: KeyWalk, reason: str, problem: str) -> KeyWalk:
    return walk if walk.problem is not None else msgspec.structs.replace(walk, problem=BundleError(reason, problem))


def _named_by(word: JsonObject, key_b64: PolicyKey) -> NamedKey:
    said = read_next_key(word, key_b64)
    check_key(said.policy_signing_pubkey_b64)
    try:
        return NamedKey(said.policy_signing_pubkey_b64, parse_rfc3339(said.issued_at))
    except ValueError as error:
        raise BundleError(MALFORMED, f"expected an RFC 3339 time in `keys`: {error}") from None
