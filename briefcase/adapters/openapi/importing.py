"""Operations of an OpenAPI document to checked manifests.

A manifest is tried with as much of its schemas as a document has, and then with less, until the checks of a manifest
take it (`briefcase.adapters.tools.schema`); what is checked less for it is said. Nothing is fetched, and nothing that
is given out has not been read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
import orjson

from briefcase.adapters.net.urls import parse_url
from briefcase.adapters.openapi.documents import MAX_DOCUMENT_BYTES, read_document
from briefcase.adapters.tools.manifest import Declared, parse_manifests
from briefcase.adapters.tools.request import with_placeholders
from briefcase.adapters.tools.schema_cost import BACKTRACKED, pattern_steps
from briefcase.core.openapi.document import Document, refuse
from briefcase.core.openapi.manifests import Choices, Imported, manifest_of
from briefcase.core.openapi.operations import Operation, chosen_operation, operations_of, slug_of
from briefcase.core.openapi.schemas import Limits, TooLargeError
from briefcase.core.openapi.servers import HINT
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject

MAX_SUBSCHEMAS: Final = 2_000
MAX_PATTERN_CHARS: Final = 1_000
_DEPTHS: Final = ((16, 400), (16, 0), (8, 0), (5, 0), (3, 0), (2, 0), (1, 0))  # and characters of a description


__all__ = [
    "MAX_DOCUMENT_BYTES",
    "Choices",
    "Document",
    "Operation",
    "Refused",
    "Written",
    "chosen_operation",
    "import_each",
    "import_operation",
    "operations_of",
    "read_document",
    "slug_of",
]


class Written(msgspec.Struct, frozen=True):
    """One operation as a manifest file: its name, its text, what was read of it, and what there is to say of it."""

    name: str
    text: str
    declared: Declared
    imported: Imported


class Refused(msgspec.Struct, frozen=True):
    """One operation that cannot be imported, and why."""

    operation: Operation
    error: CallerError


def import_operation(document: Document, operation: Operation, choices: Choices) -> Written:
    """Write the manifest of one operation.

    Raises:
        CallerError: it cannot be said in a manifest (`invalid_manifest`).
    """
    fault: CallerError | None = None
    for limits in _limits():
        try:
            imported = manifest_of(document, operation, choices, limits)
            manifest = _at_its_address(imported.manifest, operation)
            name = f"{operation.id}.json"
            text = _written_out(manifest, operation)
            (declared,) = parse_manifests(text, name)
        except TooLargeError:
            continue
        except CallerError as error:
            if "input_schema" not in error.message:
                raise
            fault = error
            continue
        return Written(name, text.decode(), declared, msgspec.structs.replace(imported, manifest=manifest))
    raise fault or CallerError(
        f"the OpenAPI document at `#{operation.node.pointer}`: its schemas are too large", code="invalid_manifest"
    )


def import_each(document: Document, operations: Iterable[Operation], choices: Choices) -> Iterator[Written | Refused]:
    """Write the manifest of each operation that can be imported."""
    for operation in operations:
        try:
            yield import_operation(document, operation, choices)
        except CallerError as error:
            yield Refused(operation, error)


def _limits() -> Iterator[Limits]:
    for depth, chars in _DEPTHS:
        yield Limits(depth, MAX_SUBSCHEMAS, chars, _takes)
        yield Limits(depth, MAX_SUBSCHEMAS, chars, _takes_linear)


def _takes(pattern: str) -> bool:
    return len(pattern) <= MAX_PATTERN_CHARS and pattern_steps(pattern) is not None


def _takes_linear(pattern: str) -> bool:
    """Beside `oneOf` and its kind a pattern that may give up would let a value through."""
    return _takes(pattern) and pattern_steps(pattern) != BACKTRACKED


def _written_out(manifest: JsonObject, operation: Operation) -> bytes:
    try:
        return orjson.dumps({"tools": [manifest]}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # as `json.loads` reads it, which takes more than JSON everywhere has
        return refuse(operation.node.pointer, "expected Unicode texts and numbers of 64 bits, got others")


def _at_its_address(manifest: JsonObject, operation: Operation) -> JsonObject:
    """The manifest with its host and port written out."""
    url = str(manifest["url"])
    path, mark, query = url.partition("?")
    scheme, slashes, rest = path.partition("://")
    authority, slash, below = rest.partition("/")
    try:
        parsed = parse_url(scheme + slashes + authority + "/" + with_placeholders(below, "x") + mark + query)
    except ValueError as error:
        refuse(operation.node.pointer, f"its URL `{url[:200]}` cannot be used: {error}", hint=HINT)
    written = f"{parsed.scheme}://{parsed.authority}{slash or '/'}{below}{mark}{query}"
    return {**manifest, "url": written, "allowed_hosts": [parsed.authority]}
