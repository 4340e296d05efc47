"""Finding the vault's secrets in what goes out, in the forms that real software writes, in linear time.

`secret_forms.FORMS` says which forms. A form is either a byte pattern made of the secret, or what a *view* of the text
says: the text with its escapes read (JSON, C, percent, HTML), quoted-printable read, or folded lines joined.
Views are made natively, each at most as long as its text, and at most `MAX_DEPTH` deep; what is found in one is cut out
of the text where it was read from. It is not looked for where someone hides it on purpose (reversed, encrypted, spread
over fields): that is the policy's to prevent.

How patterns are found: within each one window is chosen, three bytes longer than a stride, so that wherever the pattern
lies in a text, one of the window's 4-grams lies on a multiple of the stride. There a text is held against a table of
those grams (`_native.needles`). The stride is the widest that the shortest pattern, and memory for the grams of all,
leave room for. A pattern is at most 1 KiB, longer ones are looked for in pieces, so the time is linear.

Secrets shorter than `MIN_SECRET_BYTES` are not looked for: they cannot be told from ordinary text.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple, Protocol, TypeAlias

from briefcase._native import views
from briefcase._native.needles import Needles
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.redaction.secret_forms import patterns_of
from briefcase.model.errors import CallerError
from briefcase.model.ports import Redactor
from briefcase.model.types import JsonObject, JsonValue

MARK: Final = b"[redacted]"
MIN_SECRET_BYTES: Final = 8
MAX_PATTERN_BYTES: Final = 1 << 10
MAX_FORGOTTEN: Final = 4_096
MAX_PLACES: Final = 10_000  # found in one text and its views, 25 ms of work; a text with more is cut out whole
MAX_MAPPED_BYTES: Final = 4 << 20  # of views that are made again with their maps, 10 ms each MiB; one is, in any case
MAX_APART: Final = 10_000  # strings and numbers of one value that are redacted by themselves, 3 us of work each
MAX_GRAMS: Final = 65_536  # of about 32 bytes; past it the stride shrinks, down to the narrowest
MAX_DEPTH: Final = 4

_GRAM_BYTES: Final = 4
_STRIDES: Final = (32, 16, 8, 4)  # multiples of a gram; the narrowest has room in every pattern
_WHOLE: Final = b'"' + MARK + b'"'
_NOT_SHOWN: Final = str.maketrans("", "", '[]"\\&%=')

_Span: TypeAlias = tuple[int, int]
_Map: TypeAlias = "array[int]"


class KnownSecrets(Protocol):
    """Where the secrets come from: the vault."""

    @property
    def revision(self) -> int:
        """Differs whenever `redaction_set` does."""
        ...

    def redaction_set(self) -> frozenset[bytes]:
        """Every secret that must not go out."""
        ...


class _Place(NamedTuple):
    """Where a secret is in a text, and the number of the pattern that was found there."""

    start: int
    end: int
    pattern: int


class _Index(NamedTuple):
    """What is looked for: never changed once others see it but by `SecretRedactor._refresh`."""

    needles: Needles
    patterns: dict[bytes, bytes]  # in the order of their numbers, to the secret each stands for


class SecretRedactor:
    """A `ports.Redactor` that follows the vault: a secret is known here from the moment the vault knows it.

    Args:
        source: the secrets.
        owner_of: whose a secret is, for marks that say so; empty where nobody knows.
    """

    def __init__(self, source: KnownSecrets, owner_of: Callable[[bytes], str] = lambda _: "") -> None:
        self._source = source
        self._owner_of = owner_of
        self._revision: int | None = None
        self._known: frozenset[bytes] = frozenset()
        self._index = _Index(Needles(_STRIDES[0]), {})

    def redact(self, value: bytes) -> bytes:
        """The same JSON bytes with every known secret replaced by `[redacted]`.

        Where a replacement would leave no JSON (a secret that was written as a bare number, or one that begins inside
        an escape), each string and number is redacted by itself; where even that leaves a secret, where there are more
        than `MAX_APART` of them, or where secrets are found more than `MAX_PLACES` times, the whole value becomes the
        string `[redacted]`.
        """
        if self._source.revision != self._revision:
            self._refresh()
        found = self._find(value)
        return value if not found else self._marked(value, found, lambda _: MARK)

    def redact_named(self, value: bytes) -> tuple[bytes, int]:
        """As `redact`, with marks that say whose secret each stands for (`[redacted: secret of demo]`).

        Returns:
            The JSON bytes, and how many places were replaced.
        """
        self._refresh()
        found = self._find(value)
        if not found:
            return value, 0
        secrets = list(self._index.patterns.values())  # once: there may be many places, and many patterns
        name_of = cache(self._name_of)
        return self._marked(value, found, lambda place: name_of(secrets[place.pattern])), len(found)

    def redact_text(self, text: str) -> str:
        """The text with every known secret replaced; where it cannot be told, the mark alone."""
        if self._source.revision != self._revision:
            self._refresh()
        written = _written(text)
        found = self._find(written)
        return str(json.loads(self._marked(written, found, lambda _: MARK))) if found else text

    def find(self, text: bytes) -> list[_Span]:
        """Where known secrets are in a text: start and end of each place, in order; what touches is one place."""
        self._refresh()
        return [(place.start, place.end) for place in self._find(text)]

    # --- marks ------------------------------------------------------------------------------------------------------

    def _marked(self, value: bytes, found: Sequence[_Place], mark_of: Callable[[_Place], bytes]) -> bytes:
        if found[0].start == 0 and found[0].end == len(value):
            return b'"%b"' % mark_of(found[0])
        redacted = _replaced(value, found, mark_of)
        try:
            parse_json(redacted)
        except CallerError:
            return self._marked_apart(value, mark_of)
        return redacted

    def _marked_apart(self, value: bytes, mark_of: Callable[[_Place], bytes]) -> bytes:
        def redact(text: str) -> str:
            data = text.encode("utf-8", "surrogatepass")
            return _replaced(data, self._find(data), mark_of).decode("utf-8", "replace")

        if _are_too_many(value):
            return _WHOLE
        try:
            cleaned = canonical_bytes(_each(parse_json(value), redact))
        except CallerError:
            return _WHOLE
        return _WHOLE if self._find(cleaned) else cleaned

    def _name_of(self, secret: bytes) -> bytes:
        """The mark that names whose a secret is; the bare mark where nobody knows."""
        owner = self._owner_of(secret).translate(_NOT_SHOWN)
        return MARK if not owner else b"%s: secret of %s]" % (MARK[:-1], owner.encode())

    # --- what is known ----------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        revision = self._source.revision
        if revision == self._revision:
            return
        secrets = self._source.redaction_set()
        fresh = secrets - self._known
        if len(self._known - secrets) > MAX_FORGOTTEN:
            self._index, self._known, fresh = _Index(Needles(_STRIDES[0]), {}), frozenset(), secrets
        for secret in fresh:
            if len(secret) >= MIN_SECRET_BYTES:
                self._learn(secret)
        self._known |= secrets
        self._revision = revision

    def _learn(self, secret: bytes) -> None:
        needles, patterns = self._index
        added = {piece: secret for form in patterns_of(secret) for piece in _pieces_of(form) if piece not in patterns}
        shortest = min(map(len, added), default=MAX_PATTERN_BYTES)
        count = len(patterns) + len(added)
        stride = next((one for one in _STRIDES if one <= needles.stride and _fits(one, shortest, count)), _STRIDES[-1])
        patterns = {**patterns, **added} if stride != needles.stride else patterns
        if stride != needles.stride:
            needles, added = Needles(stride), patterns
        for pattern in added:
            needles.add(pattern)
        patterns.update(added)
        self._index = _Index(needles, patterns)

    # --- the search -------------------------------------------------------------------------------------------------

    def _find(self, text: bytes) -> list[_Place]:
        """Every place of every pattern, in the text and in its views; what overlaps or touches is one place.

        A text where more than `MAX_PLACES` are found is one place itself: nobody reads what is left of it, and looking
        at each is work without a bound. So is one whose places are in more views than `MAX_MAPPED_BYTES` allow.
        """
        needles = self._index.needles
        found = needles.find(text, MAX_PLACES)
        is_bounded = len(found) <= MAX_PLACES
        if is_bounded and views.needs_views(text):
            is_bounded = _add_places_in_views(needles, text, found)
        if not is_bounded:
            return [_Place(0, len(text), found[0][2])]
        return _merged(found) if found else []


class _View(NamedTuple):
    """One way to read a text: the pass, and the same with its maps."""

    read: Callable[[bytes], bytes]
    read_mapped: Callable[[bytes], tuple[bytes, _Map, _Map]]


_DECODED: Final = _View(views.decode, views.decode_mapped)
_BESIDE: Final = (
    (_View(views.unfold, views.unfold_mapped),),
    (_View(views.unquote, views.unquote_mapped),),
    (_View(views.unquote, views.unquote_mapped), _View(views.unfold, views.unfold_mapped)),
)


class _Maps:
    """The maps of a text's views, made where something is found in one, and once for all views read from another."""

    def __init__(self, text: bytes) -> None:
        self._texts: dict[tuple[_View, ...], bytes] = {(): text}
        self._made: dict[tuple[_View, ...], tuple[_Map, _Map]] = {}
        self._left_bytes = max(MAX_MAPPED_BYTES, len(text))

    def places(self, path: tuple[_View, ...], found: list[tuple[int, int, int]]) -> list[tuple[int, int, int]] | None:
        """Places of a view as those of the text; None where that takes more maps than may be made."""
        steps = [path[:length] for length in range(1, len(path) + 1)]
        for step in steps:
            if step in self._made:
                continue
            text = self._texts[step[:-1]]
            self._left_bytes -= len(text)
            if self._left_bytes < 0:
                return None
            self._texts[step], *maps = step[-1].read_mapped(text)
            self._made[step] = (maps[0], maps[1])
        for step in reversed(steps):
            starts, ends = self._made[step]
            found = [(starts[start], ends[end - 1], pattern) for start, end, pattern in found]
        return found


def _add_places_in_views(needles: Needles, text: bytes, found: list[tuple[int, int, int]]) -> bool:
    """Add what is in the views of a text, at the places of the text that each was read from.

    Returns:
        False where that is too much: no view is looked at any more, and each could hold as many again.
    """
    maps = _Maps(text)
    for path, said in _views_of(text):
        here = needles.find(said, MAX_PLACES - len(found))
        if here:
            placed = maps.places(path, here)
            found += here if placed is None else placed
            if placed is None or len(found) > MAX_PLACES:
                return False
    return True


def _views_of(text: bytes) -> Iterator[tuple[tuple[_View, ...], bytes]]:
    """Each view of a text that differs from what it was read from: the passes it took, and what it says."""
    level, path = text, ()  # type: bytes, tuple[_View, ...]
    for _ in range(MAX_DEPTH + 1):
        if path:
            yield path, level
        for beside in _BESIDE:
            said = level
            for view in beside:
                said = view.read(said)
            if said is not level:
                yield (*path, *beside), said
        decoded = views.decode(level)
        if decoded is level:
            break
        level, path = decoded, (*path, _DECODED)


def _pieces_of(form: bytes) -> list[bytes]:
    """A pattern in pieces of at most `MAX_PATTERN_BYTES`, each as long as it can be."""
    ends = range(MAX_PATTERN_BYTES, len(form) + MAX_PATTERN_BYTES, MAX_PATTERN_BYTES)
    pieces = [form[max(0, min(end, len(form)) - MAX_PATTERN_BYTES) : min(end, len(form))] for end in ends]
    return [piece for piece in pieces if len(piece) >= _window_bytes(_STRIDES[-1])]


def _fits(stride: int, shortest: int, patterns: int) -> bool:
    return _window_bytes(stride) <= shortest and stride * patterns <= MAX_GRAMS


def _window_bytes(stride: int) -> int:
    return stride + _GRAM_BYTES - 1


def _merged(found: list[tuple[int, int, int]]) -> list[_Place]:
    found.sort()
    merged: list[_Place] = []
    for start, end, pattern in found:
        if merged and start <= merged[-1].end:
            last = merged[-1]
            merged[-1] = _Place(last.start, max(end, last.end), last.pattern)
        else:
            merged.append(_Place(start, end, pattern))
    return merged


def _replaced(text: bytes, found: Sequence[_Place], mark_of: Callable[[_Place], bytes]) -> bytes:
    pieces, at = list[bytes](), 0
    for place in found:
        pieces += (text[at : place.start], mark_of(place))
        at = place.end
    pieces.append(text[at:])
    return b"".join(pieces)


def _written(text: str) -> bytes:
    """The text as a JSON string in ASCII, whatever it is, a lone surrogate too."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return b'"%b"' % text.encode()  # an identifier, mostly: nothing of it is escaped
    return json.dumps(text).encode()


def excerpt_of(redactor: Redactor, text: str, max_chars: int) -> str:
    """The beginning of a text without any known secret: of one that lies across the end, nothing is left either.

    # INVARIANT (excerpts): what others said is cut out of first and cut short then; the beginning of a secret is found
    # by nobody any more.
    """
    return redactor.redact_text(text)[:max_chars]


def repeatable(redactor: Redactor, error: CallerError, value: bytes) -> CallerError:
    """The fault found in a value; where a known secret is in the value, one that repeats no part of it.

    # INVARIANT (faults): a message quotes a value, cut to where the fault is, in small letters or escaped: a part of a
    # secret is found by nobody there, so it is looked for in the value.
    """
    if redactor.redact(value) == value:
        return error
    told = CallerError(
        "invalid value (not shown: it contains a secret)",
        code=error.code,
        hint="the daemon puts secrets into calls itself: name one where a manifest or a server takes it",
    )
    told.receipt_id = error.receipt_id
    return told


def redact_value(redactor: Redactor, value: JsonObject) -> JsonObject:
    """The object with every known secret replaced in its strings, its numbers and the names of its members.

    Where it holds none, it is the very same object. Whatever is no JSON in it is read as its `repr`.
    """
    written = json.dumps(value, default=repr).encode()
    redacted = redactor.redact(written)
    if redacted == written:
        return value
    cleaned = _read(redacted) if _are_too_many(written) else _each(value, redactor.redact_text)
    written = json.dumps(cleaned).encode()
    if isinstance(cleaned, dict) and redactor.redact(written) == written:
        return cleaned
    return {"redacted": MARK.decode()}  # a secret that reaches over several of its strings


def _are_too_many(value: bytes) -> bool:
    """Whether a JSON text may hold more strings and numbers than are redacted by themselves."""
    return value.count(b",") + value.count(b":") >= MAX_APART


def _read(value: bytes) -> JsonValue:
    """What a redacted JSON text says; nothing where it says it otherwise than we read (a number that is not exact)."""
    try:
        return parse_json(value)
    except CallerError:
        return None


def holds_secret(redactor: Redactor, value: JsonValue) -> bool:
    """Whether a known secret is anywhere in a value."""
    written = json.dumps(value, default=repr).encode()
    return redactor.redact(written) != written


def _each(value: object, redact: Callable[[str], str]) -> JsonValue:
    """The value with each of its strings and numbers redacted by itself, the names of members too."""
    match value:
        case None | bool():
            return value
        case dict():
            return {redact(str(name)): _each(member, redact) for name, member in value.items()}
        case list() | tuple():
            return [_each(item, redact) for item in value]
        case int() | float():
            written = str(value)
            redacted = redact(written)
            return value if redacted == written else redacted
        case str():
            return redact(value)
        case _:
            return redact(repr(value))
