"""Exactly one path for each thing, and the answer that is found there.

A path is split at its slashes first and each segment is percent-decoded once (RFC 3986 section 2.4); then literal
segments must be equal, and a parameter must be a plain identifier. So `//`, `..`, `%2f`, `%252e`, `;x`, another case
and a trailing slash name nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Final, Generic, TypeVar
from urllib.parse import unquote

import msgspec

from briefcase.model.identifiers import PATH_SEGMENT

_PARAMETER: Final = re.compile(PATH_SEGMENT)
_Operation = TypeVar("_Operation")


class Stream:
    """A payload whose pieces are written as they come; closed when it ends, or when its client leaves."""

    __slots__ = ("pieces",)

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self.pieces = pieces


class Reply(msgspec.Struct, frozen=True, gc=False):
    """An answer other than 200 with nothing beside its body. `timing_us` are phases in order, for `Server-Timing`.

    A payload of bytes without headers is JSON that is encoded already.
    `is_filtered` tells that no secret is in the payload: it came through the output firewall, or every text in it is
    the daemon's own. All other payloads are redacted where they are encoded. A `Stream` is filtered at its source.
    """

    payload: object
    status: int = HTTPStatus.OK
    headers: tuple[tuple[bytes, bytes], ...] = ()
    timing_us: Mapping[str, int] = MappingProxyType({})
    is_filtered: bool = False


class Match(msgspec.Struct, Generic[_Operation], frozen=True):
    """The operations of one path, and the values of its parameters."""

    by_method: Mapping[str, _Operation]
    params: Mapping[str, str]


class PathTable(Generic[_Operation]):
    """Operations by path and method.

    Args:
        operations: method, path and operation; a segment in braces is a parameter.

    Raises:
        ValueError: a method and path occur twice.
    """

    def __init__(self, operations: Iterable[tuple[str, str, _Operation]]) -> None:
        self._plain: dict[bytes, Match[_Operation]] = {}
        self._templates: dict[tuple[str, ...], dict[str, _Operation]] = {}
        for method, path, operation in operations:
            methods = self._templates.setdefault(tuple(path.split("/")), {})
            if method in methods:
                raise ValueError(f"`{method} {path}` is in two tables")
            methods[method] = operation
            if "{" not in path:
                self._plain[path.encode()] = Match(methods, {})

    def find(self, raw_path: bytes) -> Match[_Operation]:
        """What is at a path, as it was sent: undecoded, without its query; no operation where nothing is."""
        plain = self._plain
        return plain[raw_path] if raw_path in plain else self._find_template(raw_path)

    def _find_template(self, raw_path: bytes) -> Match[_Operation]:
        try:
            segments = [unquote(segment, errors="strict") for segment in raw_path.decode("ascii").split("/")]
        except UnicodeDecodeError:
            return Match({}, {})
        for template, methods in self._templates.items():
            params = _match(template, segments)
            if params is not None:
                return Match(methods, params)
        return Match({}, {})


def _match(template: tuple[str, ...], segments: Sequence[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    params = {}
    for expected, got in zip(template, segments, strict=True):
        if expected.startswith("{"):
            if not _PARAMETER.fullmatch(got):
                return None
            params[expected[1:-1]] = got
        elif expected != got:
            return None
    return params
