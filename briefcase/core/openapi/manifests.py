"""One operation to one manifest: a value, which the caller checks and writes.

1. where it is: server and path
2. which credentials it takes
3. parameters and body become arguments
4. what cannot be carried refuses the operation, unless the operator leaves it out
5. the manifest, and what is to be said of it
"""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core.openapi.bodies import add_body
from briefcase.core.openapi.credentials import credentials_of, schemes_of, secret_places
from briefcase.core.openapi.document import Document, Node, refuse
from briefcase.core.openapi.operations import Operation, slug_of
from briefcase.core.openapi.parameters import add_parameters
from briefcase.core.openapi.reading import MAX_DESCRIPTION_CHARS, Reading
from briefcase.core.openapi.schemas import Limits, SchemaWriter, unicode_text
from briefcase.core.openapi.servers import base_url, host_of, main_host
from briefcase.model.types import JsonObject, JsonValue

MAX_NAME_CHARS: Final = 128
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SUCCESS: Final = ("200", "201", "202", "203", "2XX", "2xx", "default")


class Choices(msgspec.Struct, frozen=True):
    """What the operator said of an import.

    `base_url` stands in place of the document's servers; `api` names the API, `secret` its secret. With `leave_out`
    optional parts that cannot be carried are left out, else they refuse their operation.
    """

    base_url: str | None = None
    api: str = ""
    secret: str | None = None
    leave_out: bool = False


class Imported(msgspec.Struct, frozen=True):
    """An operation's manifest, what was left out of it, and what else its operator should know."""

    operation: Operation
    manifest: JsonObject
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def manifest_of(document: Document, operation: Operation, choices: Choices, limits: Limits) -> Imported:
    """Write the manifest of one operation.

    Args:
        document: it.
        operation: one of its operations.
        choices: the operator's.
        limits: of its schemas.

    Raises:
        CallerError: the document is not as expected, or the operation cannot be carried (`invalid_manifest`).
        TooLargeError: its schemas are larger than the limits.
    """
    reading = Reading(document, operation, SchemaWriter(document, limits))
    # 1. where
    if operation.method == "TRACE":
        reading.lack(operation.node.pointer, "the method TRACE gives requests back", required=True)
    base = base_url(document, operation, choices.base_url, reading.remarks)
    if "?" in base or "#" in base:
        refuse(operation.node.pointer, f"the server `{base}` cannot be used: expected no query and no fragment")
    path, query = _path(reading)

    # 2. credentials
    main = host_of(choices.base_url) if choices.base_url else main_host(document)
    alternatives = schemes_of(reading)
    other_host = host_of(base) if host_of(base) != main else ""
    api = slug_of(choices.api or document.title)
    credentials = credentials_of(reading, alternatives, api, other_host, choices.secret)

    # 3. arguments
    add_parameters(reading, query, secret_places(alternatives))
    body = add_body(reading)

    # 4. what is missing
    if reading.uncarried and not choices.leave_out:
        refuse(
            operation.node.pointer,
            f"`{operation.key}` has parts that cannot be carried: {'; '.join(reading.uncarried)}",
            hint="they are optional: import it without them, `--leave-out`",
        )

    # 5. the manifest
    manifest = _manifest(reading, api, f"{base}{path}{'?' if query else ''}{query}", credentials, body)
    return Imported(operation, manifest, tuple(reading.uncarried), (*reading.remarks, *reading.schemas.remarks()))


def _path(reading: Reading) -> tuple[str, str]:
    """The path and the query of the URL. A fragment is never sent (RFC 9110 section 7.1)."""
    path, mark, _ = reading.operation.path.partition("#")
    if mark:
        reading.remarks.append("the path has a fragment, which is no part of a request")
    path, _, query = path.partition("?")
    if not path.startswith("/"):
        path = "/" + path
    if "{" in query:
        refuse(
            reading.operation.item.pointer, f"`{reading.operation.key}`: expected no `{{name}}` in the query of a path"
        )
    return path, query


def _manifest(
    reading: Reading, api: str, url: str, credentials: list[JsonObject], body: JsonObject | None
) -> JsonObject:
    operation, node = reading.operation, reading.operation.node
    path = "/" + url.partition("?")[0].partition("://")[2].partition("/")[2]
    fixed, brace, _ = path.partition("{")
    schema: JsonObject = {
        "type": "object",
        "properties": reading.properties,
        "required": reading.required,
        "additionalProperties": False,
        **({"dependentRequired": reading.dependent} if reading.dependent else {}),
    }
    accept = _accepted(reading)
    return {
        "id": operation.id,
        "name": unicode_text(node.text("summary") or operation.id)[:MAX_NAME_CHARS],
        **({"api": api} if api else {}),
        "operation": operation.key,
        "description": unicode_text(node.text("description") or node.text("summary"))[:MAX_DESCRIPTION_CHARS],
        "method": operation.method,
        "url": url,
        "category": "read" if operation.method in _READS else "write",
        "arguments": dict(reading.arguments),
        **({"headers": {"Accept": accept}} if accept else {}),
        **({"body": body} if body else {}),
        "allowed_path_prefixes": [fixed.rpartition("/")[0] or "/"] if brace else [fixed],
        **_as_written(credentials),
        "input_schema": schema,
    }


def _as_written(credentials: list[JsonObject]) -> JsonObject:
    if len(credentials) == 1:
        return {"credential": credentials[0]}
    written: list[JsonValue] = [*credentials]
    return {"credentials": written} if written else {}


def _accepted(reading: Reading) -> str:
    """What is asked for, where the answer may be something else than JSON too; empty where nothing need be said."""
    responses = reading.operation.node.at("responses")
    for status in _SUCCESS:
        kinds = _kinds(reading.document.resolved(responses.at(status)))
        plain = [kind for kind in kinds if kind.isascii() and kind.isprintable() and "*" not in kind]
        read = [kind for kind in plain if _is_json(kind)] or [kind for kind in plain if kind.startswith("text/")]
        if read:
            return "" if kinds == ["application/json"] else read[0].strip()
    return ""


def _kinds(response: Node) -> list[str]:
    return [kind.strip() for kind, _ in response.at("content").items()]


def _is_json(kind: str) -> bool:
    base = kind.partition(";")[0].strip().lower()
    return base in {"application/json", "text/json"} or base.endswith("+json")
