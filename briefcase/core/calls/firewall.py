"""The output firewall, step 11 of a call: what of a tool's result may come back, and in what form.

In this order: paths, size, secrets.

1. `allow_paths`: only what a JSON pointer of the list names passes (RFC 6901). One extension: a token `*` stands for
   every element of an *array*, because pointers alone cannot name a field of a list of unknown length; in an object
   `*` is that very key. Objects keep the members and arrays the elements on an allowed path, in order; a container in
   which nothing was allowed goes too, and where nothing at all was, the result is `null`.
2. `max_bytes` bounds the canonical bytes of what passed. More is an error, never a truncated answer.
3. Known secrets are redacted from the canonical bytes; what the caller gets is those bytes.

It is work in pieces (`core.pieces`): 8 MiB take 20 ms to write and 60 ms to search, each in one stretch.

A result is data: it becomes `result.content` and nothing else, so it can set no field that only the daemon writes.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import msgspec

from briefcase.core.json.pointer import tokens_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.redaction.redactor import MARK
from briefcase.model.errors import CallerError
from briefcase.model.ports import Redactor
from briefcase.model.types import FirewallMode, JsonValue, OutputFirewall

EVERY_ELEMENT: Final = "*"
LARGE_OUTPUT_BYTES: Final = 64 << 10
_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*")  # RFC 6901 section 3

_END: Final = None  # in place of a token: here a pointer ends, and everything below is allowed

_Node: TypeAlias = "dict[str | None, _Node]"


class Passed(msgspec.Struct, frozen=True):
    """What may be answered: canonical bytes, and how many secrets were cut out of them."""

    canonical: bytes
    redactions: int = 0


class Blocked(msgspec.Struct, frozen=True):
    """The result may not be answered; `reason` is safe to show."""

    reason: str


def filtering_output(
    content: JsonValue, firewall: OutputFirewall, redactor: Redactor
) -> Generator[None, None, Passed | Blocked]:
    """Apply a tool's firewall to its result, in one piece where that has at most `LARGE_OUTPUT_BYTES`.

    Args:
        content: what the tool answered.
        firewall: the bound of that tool; its pointers were checked with `check_pointer` when it was registered.
        redactor: knows the secrets.
    """
    # 1. paths
    if firewall.mode is FirewallMode.ALLOW_PATHS:
        content = select_paths(content, firewall.allowed_paths)

    # 2. size
    try:
        canonical = canonical_bytes(content)
    except (CallerError, TypeError):  # whatever a tool answers, its intent is closed and the caller is told
        return Blocked("the output is no JSON that can be recorded exactly")
    if len(canonical) > firewall.max_bytes:
        return Blocked(f"the output is too large: expected at most {firewall.max_bytes} bytes, got {len(canonical)}")

    del content  # which weighs up to thirty times its bytes

    # 3. secrets
    is_large = len(canonical) > LARGE_OUTPUT_BYTES
    if is_large:
        yield
    redacted = redactor.redact(canonical)
    marks = 0 if redacted == canonical else max(1, redacted.count(MARK) - canonical.count(MARK))
    if is_large:
        yield  # before its digest
    return Passed(redacted, marks)


def check_pointer(pointer: str) -> None:
    """Check one allowed path.

    Raises:
        CallerError: it is no JSON pointer (RFC 6901).
    """
    if not _POINTER.fullmatch(pointer):
        raise CallerError(f"expected a JSON pointer like `/items/*/id`, got `{pointer}`", code="invalid_manifest")


def select_paths(value: JsonValue, pointers: Sequence[str]) -> JsonValue:
    """The parts of a value that the pointers name, in its own shape; None where they name nothing."""
    kept = _select(value, (_compile(tuple(pointers)),))
    return None if isinstance(kept, msgspec.UnsetType) else kept


@lru_cache(maxsize=1024)
def _compile(pointers: tuple[str, ...]) -> _Node:
    root: _Node = {}
    for pointer in pointers:
        node = root
        for token in tokens_of(pointer):
            node = node.setdefault(token, {})
        node[_END] = {}
    return root


def _select(value: JsonValue, nodes: tuple[_Node, ...]) -> JsonValue | msgspec.UnsetType:
    """What the pointers that lead here, each at its own node, allow of a value; UNSET where that is nothing."""
    if any(_END in node for node in nodes):
        return value
    if isinstance(value, dict):
        members = ((key, _select(member, _below(nodes, key))) for key, member in value.items())
        return {key: kept for key, kept in members if kept is not msgspec.UNSET} or msgspec.UNSET
    if isinstance(value, list):
        elements = (_select(item, _below(nodes, str(at), EVERY_ELEMENT)) for at, item in enumerate(value))
        return [kept for kept in elements if kept is not msgspec.UNSET] or msgspec.UNSET
    return msgspec.UNSET


def _below(nodes: tuple[_Node, ...], *tokens: str) -> tuple[_Node, ...]:
    return tuple(node[token] for node in nodes for token in tokens if token in node)
