"""JSON-RPC 2.0 messages as MCP narrows them: strict reading, one form of writing.

An id is a string or an integer, never null, a float or absent from a request; `1.0` is a float here although it is an
integer elsewhere, because an answer must repeat the id as it was sent. What is not one of the four message forms is an
`RpcError` that says where. Duplicate keys, inexact numbers and the rest of `strict_json`'s list are refused first; of
what a server answers they are read another way (`read_server_message`). `null` is what is not there, as libraries of
JSON-RPC 1.0 write it: `params`, each parameter of a request, an `error` beside a result and a result beside an error.

Source: JSON-RPC 2.0; MCP 2026-07-28, basic protocol, messages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, TypeAlias

import msgspec
import orjson

from briefcase.core.json.lenient import read_lenient
from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
RESOURCE_NOT_FOUND: Final = -32002  # 2025-11-25 and before; INVALID_PARAMS since
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_REVISION: Final = -32022

MAX_ID_CHARS: Final = 256
MAX_METHOD_CHARS: Final = 128
MAX_BATCH: Final = 64

_ENVELOPE: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_LAST_ID: Final = re.compile(rb',\s*"id"\s*:\s*(-?\d{1,16}|"[^"\\]{0,256}")\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_NESTED: Final = re.compile(rb"(?<!^)[\[{]")

RequestId: TypeAlias = str | int


class Request(msgspec.Struct, frozen=True):
    """A message that wants an answer."""

    id: RequestId
    method: str
    params: JsonObject


class Notification(msgspec.Struct, frozen=True):
    """A message that wants none."""

    method: str
    params: JsonObject


class Response(msgspec.Struct, frozen=True):
    """An answer: `error` where it is not None, else `result`. `id` is None where the peer could not read ours.

    `inexact` names what of it was no strict JSON (`read_server_message`).
    """

    id: RequestId | None
    result: JsonObject
    error: JsonObject | None = None
    inexact: tuple[str, ...] = ()


class Unreadable(msgspec.Struct, frozen=True):
    """What is no message, as far as its id can be told: an answer, for which nobody need wait any longer, or a request.

    `is_request`: it asks for an answer, and should be told that it gets none.
    """

    id: RequestId
    problem: str
    is_request: bool = False


Message: TypeAlias = Request | Notification | Response


class RpcError(Exception):
    """What an error response says. `http_status` is how Streamable HTTP answers it.

    Args:
        code: a JSON-RPC error code.
        message: safe to show.
        data: the error's structured part, or None.
        request_id: whom it answers, where that could be read.
        http_status: the HTTP status that goes with it.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        data: JsonValue = None,
        request_id: RequestId | None = None,
        http_status: int = HTTPStatus.OK,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data
        self.request_id = request_id
        self.http_status = http_status


class _IdOnly(msgspec.Struct):
    id: msgspec.Raw = msgspec.Raw()


class _Head(msgspec.Struct):
    """What tells whom bytes answer that are no message."""

    id: RequestId
    method: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def parse_message(data: bytes) -> Message:
    """Read one message.

    Raises:
        RpcError: not strict JSON, a batch, or none of the message forms.
    """
    value = _strict(data)
    if isinstance(value, list):
        raise RpcError(INVALID_REQUEST, "expected one message, got a batch", http_status=HTTPStatus.BAD_REQUEST)
    return _message(value, msgspec.json.decode(data, type=_IdOnly).id if isinstance(value, dict) else b"")


def read_server_message(data: bytes) -> Message | Unreadable:
    """Read what a server sent.

    What is no strict JSON is read by the table of `core.json.lenient` where it is an answer or a notification: they
    hold texts for people and models, and say in `Response.inexact` what was read so. The members that make it a
    message stand once and are exact. A request is never read so: what a person is asked is exact or is not asked.

    Raises:
        RpcError: it is no message, and answers nobody: a log line on a server's output, say.
    """
    try:
        return parse_message(data)
    except RpcError as error:
        problem = error
    try:
        read = read_lenient(data)
        message = _message(read.value, b"")
    except (CallerError, RpcError):
        return _unreadable(data, problem)
    if isinstance(message, Request):
        return Unreadable(message.id, problem.message, is_request=True)
    if read.repeated & _ENVELOPE:
        return _unreadable(data, problem)
    return msgspec.structs.replace(message, inexact=read.inexact) if isinstance(message, Response) else message


def too_large_message(head: bytes, tail: bytes, max_bytes: int) -> Unreadable:
    """Whom a message answers that was too large to be kept, by its beginning and its end.

    Raises:
        RpcError: it answers nobody, or that cannot be told.
    """
    problem = RpcError(PARSE_ERROR, f"expected at most {max_bytes:,} bytes (`max_message_bytes`), got more")
    return _unreadable(head + tail, problem)


def _unreadable(data: bytes, problem: RpcError) -> Unreadable:
    """Whom bytes answer that are no message. Raises the problem where they are no answer, or too broken to tell."""
    head = _head_of(data)
    if head is None:  # too broken even to look past: as far as its first member that holds others, else its last
        head = _head_of(_NESTED.split(data, 1)[0].rpartition(b",")[0] + b"}")
    if head is None and (last := _LAST_ID.search(data)) is not None:
        head = _head_of(b'{"id":%b}' % last[1])
    if head is None or head.method is not msgspec.UNSET:
        raise problem
    return Unreadable(head.id, problem.message)


def _head_of(data: bytes) -> _Head | None:
    try:
        return msgspec.json.decode(data, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def parse_messages(data: bytes) -> Sequence[Message] | Message:
    """Read one message, or a batch where the revision still has them.

    Raises:
        RpcError: as `parse_message`, or an empty or too long batch.
    """
    value = _strict(data)
    if not isinstance(value, list):
        return _message(value, msgspec.json.decode(data, type=_IdOnly).id if isinstance(value, dict) else b"")
    if not 0 < len(value) <= MAX_BATCH:
        raise RpcError(INVALID_REQUEST, f"expected a batch of 1 to {MAX_BATCH} messages, got {len(value)}")
    if not all(isinstance(item, dict) for item in value):
        raise RpcError(
            INVALID_REQUEST, "expected every message of a batch to be an object", http_status=HTTPStatus.BAD_REQUEST
        )
    ids = msgspec.json.decode(data, type=list[_IdOnly])
    return [_message(item, raw.id) for item, raw in zip(value, ids, strict=True)]


def encode_request(request_id: RequestId, method: str, params: JsonObject | orjson.Fragment) -> bytes:
    """Write a request."""
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})


def encode_notification(method: str, params: JsonObject) -> bytes:
    """Write a notification."""
    return orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params})


def encode_result(request_id: RequestId, result: JsonObject | orjson.Fragment) -> bytes:
    """Write a successful response."""
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})


def encode_error(error: RpcError, request_id: RequestId | None = None) -> bytes:
    """Write an error response; without any id it has no `id` member at all, as MCP's schema asks."""
    body: JsonObject = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    answered = request_id if request_id is not None else error.request_id
    if answered is None:
        return orjson.dumps({"jsonrpc": "2.0", "error": body})
    return orjson.dumps({"jsonrpc": "2.0", "id": answered, "error": body})


def as_object(value: JsonValue) -> JsonObject:
    """A member that should be an object, read leniently: anything else is one without members."""
    return value if isinstance(value, dict) else {}


def _strict(data: bytes) -> JsonValue:
    try:
        return parse_json(data)
    except CallerError as error:
        raise RpcError(PARSE_ERROR, error.message, http_status=HTTPStatus.BAD_REQUEST) from None


def _message(value: JsonValue, raw_id: bytes | msgspec.Raw) -> Message:
    if not isinstance(value, dict):
        raise RpcError(INVALID_REQUEST, "expected a JSON object", http_status=HTTPStatus.BAD_REQUEST)
    request_id = _checked_id(value, bytes(raw_id))
    if value.get("jsonrpc") != "2.0":
        raise _malformed('expected `"jsonrpc": "2.0"`', request_id)
    if "method" not in value:
        return _response(value, request_id)
    method, params = value["method"], _params_of(value)
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD_CHARS:
        raise _malformed(f"expected `method` as a string of 1 to {MAX_METHOD_CHARS} characters", request_id)
    if "result" in value or "error" in value:
        raise _malformed("expected a request or a response, got both", request_id)
    if not isinstance(params, dict):
        raise RpcError(
            INVALID_PARAMS, "expected `params` as an object", request_id=request_id, http_status=HTTPStatus.BAD_REQUEST
        )
    if not isinstance(params.get("_meta", {}), dict):
        raise RpcError(
            INVALID_PARAMS, "expected `_meta` as an object", request_id=request_id, http_status=HTTPStatus.BAD_REQUEST
        )
    return Notification(method, params) if request_id is None else Request(request_id, method, params)


def _checked_id(value: JsonObject, raw_id: bytes) -> RequestId | None:
    """The id, or None where there is none; `null` is only let through on an error response."""
    if "id" not in value:
        return None
    request_id = value["id"]
    if request_id is None and isinstance(value.get("error"), dict) and "method" not in value:
        return None
    is_integer = isinstance(request_id, int) and not isinstance(request_id, bool) and not set(raw_id) & set(b".eE")
    if is_integer or (isinstance(request_id, str) and len(request_id) <= MAX_ID_CHARS):
        return request_id  # type: ignore[return-value]  # the line above is the proof
    raise RpcError(
        INVALID_REQUEST,
        f"expected `id` as an integer or a string of at most {MAX_ID_CHARS} characters",
        http_status=HTTPStatus.BAD_REQUEST,
    )


def _params_of(value: JsonObject) -> JsonValue:
    """The parameters; null is what is not there, for them and for each parameter of a request."""
    params = value.get("params")
    if params is None:
        return {}
    if "id" not in value or not isinstance(params, dict) or None not in params.values():
        return params
    return {name: param for name, param in params.items() if param is not None}


def _response(value: JsonObject, request_id: RequestId | None) -> Response:
    error = value.get("error")  # a null one is none, and so is a null result beside an error, as JSON-RPC 1.0 had them
    if ("result" in value and (error is None or value["result"] is not None)) == (error is not None):
        raise _malformed("expected either `result` or `error`", request_id)
    if error is not None:
        if not isinstance(error, dict) or not isinstance(error.get("code"), int):
            raise _malformed("expected `error` with an integer `code`", request_id)
        return Response(request_id, {}, error)
    result = value["result"]
    if request_id is None or not isinstance(result, dict):
        raise _malformed("expected a response with an `id` and an object as its `result`", request_id)
    return Response(request_id, result)


def _malformed(message: str, request_id: RequestId | None) -> RpcError:
    return RpcError(INVALID_REQUEST, message, request_id=request_id, http_status=HTTPStatus.BAD_REQUEST)
