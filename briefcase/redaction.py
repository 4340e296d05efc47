"""Finding the vault's secrets in what goes out, in every common encoding, in linear time.

A secret is looked for as it is, in base64 and base64url at each of the three alignments, in hexadecimal, as Latin-1
read into UTF-8, percent-encoded (RFC 3986, and form style), and each of these once and twice JSON-escaped. It is not
looked for where someone hides it on purpose (reversed, encrypted, spread over fields): that is the policy's to prevent.

How: every encoding is a plain byte pattern. Within each pattern one window is chosen, three bytes longer than a stride,
so that wherever the pattern lies in a text, one of the window's 4-grams lies on a multiple of the stride. There a text
is read as 4-byte integers, a piece at a time in one call into C, and held against the set of those grams; only in a
piece with a hit are they looked at one by one, and compared with their few patterns. The stride is the widest that the
shortest pattern, and memory for the grams of all, leave room for. A pattern is at most 1 KiB, longer ones are looked
for in pieces, so the time is linear.

Secrets shorter than `MIN_SECRET_BYTES` are not looked for: they can not be told from ordinary text.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from typing import Final, Protocol
from urllib.parse import quote, quote_plus

from briefcase.errors import CallerError
from briefcase.ports import Redactor
from briefcase.strict_json import parse as parse_json
from briefcase.types import JsonObject, JsonValue

MARK: Final = b"[redacted]"
MIN_SECRET_BYTES: Final = 8
MAX_PATTERN_BYTES: Final = 1 << 10
MAX_FORGOTTEN: Final = 4_096
MAX_GRAMS: Final = 32_768  # of about 260 bytes; past it the stride shrinks, down to the narrowest

_GRAM_BYTES: Final = 4
_STRIDES: Final = (32, 16, 8, 4)  # multiples of a gram; the narrowest has room in every pattern
_PIECE_GRAMS: Final = 512
_MAX_TRIED_WINDOWS: Final = 8
_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")
_UNKNOWN_HEAD_CHARS: Final = (0, 2, 3)  # base64 characters that also depend on the 0, 1 or 2 bytes before
_HTML_SAFE: Final = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})  # as Go's encoder writes JSON

_Span = tuple[int, int]


class KnownSecrets(Protocol):
    """Where the secrets come from: the vault."""

    @property
    def revision(self) -> int:
        """Differs whenever `redaction_set` does."""
        ...

    def redaction_set(self) -> frozenset[bytes]:
        """Every secret that must not go out."""
        ...


class SecretRedactor:
    """A `ports.Redactor` that follows the vault: a secret is known here from the moment the vault knows it."""

    def __init__(self, source: KnownSecrets) -> None:
        self._source = source
        self._revision: int | None = None
        self._forget()

    def redact(self, value: bytes) -> bytes:
        """The same JSON bytes with every known secret replaced by `[redacted]`.

        Where a replacement would leave no JSON (a secret that was written as a bare number, or one that begins inside
        an escape), the whole value becomes the string `[redacted]`.
        """
        self._refresh()
        spans = self._find(value)
        if not spans:
            return value
        redacted = b"".join(_pieces(value, spans, len(value), covered=None))
        try:
            parse_json(redacted)
        except CallerError:
            return b'"' + MARK + b'"'
        return redacted

    def find(self, text: bytes) -> list[tuple[int, int]]:
        """Where known secrets are in a text: start and end of each place, in order; what touches is one place."""
        self._refresh()
        return self._find(text)

    def stream(self) -> RedactingStream:
        """A redactor for text that arrives in chunks; what it gives is the same wherever the text was cut."""
        return RedactingStream(self)

    def _refresh(self) -> None:
        revision = self._source.revision
        if revision == self._revision:
            return
        secrets = self._source.redaction_set()
        if len(self._known - secrets) > MAX_FORGOTTEN:
            self._forget()
        for secret in secrets - self._known:
            self._known.add(secret)
            if len(secret) >= MIN_SECRET_BYTES:
                for form in forms_of(secret):
                    self._add(form)
        self._revision = revision

    def _forget(self) -> None:
        self._known: set[bytes] = set()
        self._patterns: set[bytes] = set()
        self._grams: dict[int, list[tuple[bytes, int]]] = {}  # to the patterns, and where in them the gram lies
        self._stride = _STRIDES[0]
        self._shortest = MAX_PATTERN_BYTES
        self._longest = 0

    def _add(self, form: bytes) -> None:
        for start in range(0, len(form), MAX_PATTERN_BYTES):
            end = min(start + MAX_PATTERN_BYTES, len(form))
            pattern = form[max(0, end - MAX_PATTERN_BYTES) : end]
            if pattern in self._patterns:
                continue
            self._patterns.add(pattern)
            self._shortest = min(self._shortest, len(pattern))
            self._longest = max(self._longest, len(pattern))
            self._index(pattern)

    def _index(self, pattern: bytes) -> None:
        """Make a pattern findable; where the stride no longer fits, make all of them findable at a narrower one."""
        added: tuple[bytes, ...] = (pattern,)
        if not self._is_fitting(self._stride):
            self._stride = next((stride for stride in _STRIDES if self._is_fitting(stride)), _STRIDES[-1])
            self._grams = {}
            added = tuple(self._patterns)
        for one in added:
            offset = self._rarest_window(one)
            for at in range(offset, offset + self._stride):
                self._grams.setdefault(_gram(one, at), []).append((one, at))

    def _is_fitting(self, stride: int) -> bool:
        has_room = stride * len(self._patterns) <= MAX_GRAMS or stride == _STRIDES[-1]
        return has_room and _window_bytes(stride) <= self._shortest

    def _rarest_window(self, pattern: bytes) -> int:
        """Where the fewest other patterns are found: tokens of one issuer begin alike, so not at the start."""
        stride, last = self._stride, len(pattern) - _window_bytes(self._stride)
        best, fewest = last, len(self._patterns) * stride
        for offset in range(last, -1, -max(1, last // _MAX_TRIED_WINDOWS)):
            crowd = max(len(self._grams.get(_gram(pattern, at), ())) for at in range(offset, offset + stride))
            if crowd < fewest:
                best, fewest = offset, crowd
            if not crowd:
                break
        return best

    def _find(self, text: bytes) -> list[_Span]:
        """Every place of every pattern; what overlaps or touches is one span."""
        known, stride = self._grams, self._stride
        grams = memoryview(text)[: len(text) // _GRAM_BYTES * _GRAM_BYTES].cast("I")[:: stride // _GRAM_BYTES]
        found: list[_Span] = []
        for begin in range(0, len(grams), _PIECE_GRAMS):
            piece = grams[begin : begin + _PIECE_GRAMS]
            if known.keys().isdisjoint(piece):
                continue
            for index, gram in enumerate(piece, begin):
                for pattern, at in known.get(gram, ()):
                    start = index * stride - at
                    if start >= 0 and text.startswith(pattern, start):
                        found.append((start, start + len(pattern)))
        return _merged(found)


class RedactingStream:
    """Redacts a text that arrives in chunks: holds back what could still become a secret, and no more."""

    def __init__(self, redactor: SecretRedactor) -> None:
        self._redactor = redactor
        self._held = b""
        self._covered: int | None = None  # so many held bytes belong to a secret whose mark was given out already

    def feed(self, chunk: bytes) -> bytes:
        """Take the next chunk; gives what is safe to pass on by now."""
        self._redactor._refresh()  # noqa: SLF001 - one module, two halves of one thing
        self._held += chunk
        return self._release(len(self._held) - self._redactor._longest + 1)  # noqa: SLF001

    def finish(self) -> bytes:
        """The text has ended; gives the rest."""
        return self._release(len(self._held))

    def _release(self, safe: int) -> bytes:
        if safe <= 0:
            return b""
        spans = self._redactor._find(self._held)  # noqa: SLF001
        if self._covered is not None:
            spans = _merged([(0, self._covered), *spans])
        passed = b"".join(_pieces(self._held, spans, safe, self._covered))
        reaching = [end for start, end in spans if start < safe <= end]
        self._covered = reaching[-1] - safe if reaching else None
        self._held = self._held[safe:]
        return passed


def redact_text(redactor: Redactor, text: str) -> str:
    """The text with every known secret replaced; where it cannot be told, the mark alone."""
    written = json.dumps(text).encode()  # ASCII: whatever the text is, a lone surrogate too
    redacted = redactor.redact(written)
    return text if redacted == written else str(json.loads(redacted))


def redact_value(redactor: Redactor, value: JsonObject) -> JsonObject:
    """The object with every known secret replaced in its strings, its numbers and the names of its members.

    Where it holds none, it is the very same object. Whatever is no JSON in it is read as its `repr`.
    """
    written = json.dumps(value, default=repr).encode()
    if redactor.redact(written) == written:
        return value
    cleaned = _cleaned(value, redactor)
    written = json.dumps(cleaned).encode()
    if isinstance(cleaned, dict) and redactor.redact(written) == written:
        return cleaned
    return {"redacted": MARK.decode()}  # a secret that reaches over several of its strings


def holds_secret(redactor: Redactor, value: JsonValue) -> bool:
    """Whether a known secret is anywhere in a value."""
    written = json.dumps(value, default=repr).encode()
    return redactor.redact(written) != written


def _cleaned(value: object, redactor: Redactor) -> JsonValue:
    match value:
        case None | bool():
            return value
        case dict():
            return {redact_text(redactor, str(name)): _cleaned(member, redactor) for name, member in value.items()}
        case list() | tuple():
            return [_cleaned(item, redactor) for item in value]
        case int() | float():
            written = str(value)
            redacted = redact_text(redactor, written)
            return value if redacted == written else redacted
        case str():
            return redact_text(redactor, value)
        case _:
            return redact_text(redactor, repr(value))


def forms_of(secret: bytes) -> set[bytes]:
    """Every encoding of one secret that is looked for.

    Args:
        secret: at least `MIN_SECRET_BYTES` bytes.
    """
    encoded = {secret, secret.decode("latin-1").encode(), secret.hex().encode(), secret.hex().upper().encode()}
    encoded.update(_base64_forms(secret))
    encoded.update(_percent_forms(secret))
    return encoded.union(*map(_escaped_forms, encoded))


def _base64_forms(secret: bytes) -> Iterator[bytes]:
    """RFC 4648 sections 4 and 5, behind 0, 1 or 2 unknown bytes: the characters that depend on the secret alone."""
    for before, unknown_chars in enumerate(_UNKNOWN_HEAD_CHARS):
        encoded = base64.b64encode(bytes(before) + secret).rstrip(b"=")
        whole = (before + len(secret)) % 3 == 0
        known = encoded[unknown_chars:] if whole else encoded[unknown_chars:-1]
        yield known
        yield known.translate(_URL_ALPHABET)


def _percent_forms(secret: bytes) -> Iterator[bytes]:
    """RFC 3986 section 2.1, with either case of the digits, and form style (`+` for a space)."""
    for form in (quote(secret, safe=""), quote(secret), quote_plus(secret), "%" + secret.hex("%").upper()):
        yield form.encode()
        yield _lower_escapes(form).encode()


def _lower_escapes(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in rest)])


def _escaped_forms(form: bytes) -> Iterator[bytes]:
    """JSON string escapes (RFC 8259 section 7) as common writers choose them, once, and twice for JSON within JSON."""
    try:
        text = form.decode()
    except UnicodeDecodeError:
        return
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    once = {plain, json.dumps(text)[1:-1], plain.replace("/", r"\/"), plain.translate(_HTML_SAFE)}
    for escaped in once:
        yield escaped.encode()
        yield json.dumps(escaped, ensure_ascii=False)[1:-1].encode()


def _window_bytes(stride: int) -> int:
    return stride + _GRAM_BYTES - 1


def _gram(pattern: bytes, at: int) -> int:
    return int.from_bytes(pattern[at : at + _GRAM_BYTES], sys.byteorder)


def _merged(spans: list[_Span]) -> list[_Span]:
    spans.sort()
    merged: list[_Span] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _pieces(text: bytes, spans: list[_Span], safe: int, covered: int | None) -> Iterator[bytes]:
    """The text before `safe`, a mark in place of each span; the mark of a span that was `covered` is given already."""
    at = 0
    for start, end in spans:
        if start >= safe:
            break
        yield text[at:start]
        if start > 0 or covered is None:
            yield MARK
        at = end
    yield text[at:safe]
