"""The messages of `envoy.service.auth.v3.Authorization/Check`, as far as they are read and written here.

The names and numbers of the fields are the published ones; fields that are not named here are not looked at. They are
described in a pool of their own, since the generated packages lay others' modules over those that are installed.

Source: envoy/service/auth/v3/external_auth.proto and attribute_context.proto; google/rpc/status.proto;
envoy/config/core/v3/base.proto; envoy/type/v3/http_status.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

SERVER: Final = "server"  # of `context_extensions`

_Field = descriptor_pb2.FieldDescriptorProto
_TEXT: Final = _Field.TYPE_STRING
_BYTES: Final = _Field.TYPE_BYTES
_INT32: Final = _Field.TYPE_INT32
_OK: Final = 0  # google/rpc/code.proto
_PERMISSION_DENIED: Final = 7
_PACKAGE: Final = "briefcase.ext_authz"

# message: field: number and type; the name of a message stands for its type, `*` for many, `map` for texts by text
_MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, int | str]]]] = {
    "HttpRequest": {
        "method": (2, _TEXT),
        "headers": (3, "map"),
        "path": (4, _TEXT),
        "body": (11, _TEXT),
        "raw_body": (12, _BYTES),
        "header_map": (13, _BYTES),
    },
    "Request": {"http": (2, "HttpRequest")},
    "AttributeContext": {"request": (4, "Request"), "context_extensions": (10, "map")},
    "CheckRequest": {"attributes": (1, "AttributeContext")},
    "Status": {"code": (1, _INT32)},
    "HttpStatus": {"code": (1, _INT32)},
    "HeaderValue": {"key": (1, _TEXT), "value": (2, _TEXT)},
    "HeaderValueOption": {"header": (1, "HeaderValue")},
    "DeniedHttpResponse": {"status": (1, "HttpStatus"), "headers": (2, "*HeaderValueOption"), "body": (3, _TEXT)},
    "OkHttpResponse": {"headers_to_remove": (5, "*")},
    "CheckResponse": {
        "status": (1, "Status"),
        "denied_response": (2, "DeniedHttpResponse"),
        "ok_response": (3, "OkHttpResponse"),
    },
}


class UnreadableError(Exception):
    """Bytes that are no question of a proxy; the text says why."""


class Question(msgspec.Struct, frozen=True):
    """The request that a proxy holds; `server` is of the proxy's `context_extensions`, empty where they name none.

    `has_other_forms` tells that headers or a body came in a form that is not read.
    """

    server: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    has_other_forms: bool


def read_check(data: bytes) -> Question:
    """Read a question.

    Raises:
        UnreadableError: no protocol buffer, or without the request that is asked about.
    """
    question = CLASSES["CheckRequest"]()
    try:
        question.ParseFromString(data)
    except DecodeError:
        raise UnreadableError("expected a CheckRequest") from None
    attributes = question.attributes
    if not attributes.request.HasField("http"):
        raise UnreadableError("expected `attributes.request.http`")
    held = attributes.request.http
    return Question(
        attributes.context_extensions.get(SERVER, ""),
        held.method,
        held.path,
        dict(held.headers),
        held.raw_body,
        has_other_forms=bool(held.body or held.header_map),
    )


def encode_ok(headers_to_remove: tuple[str, ...]) -> bytes:
    """The answer that lets a request through."""
    answer = CLASSES["CheckResponse"]()
    answer.status.code = _OK
    answer.ok_response.headers_to_remove.extend(headers_to_remove)
    return bytes(answer.SerializeToString())


def encode_denied(http_status: int, body: bytes) -> bytes:
    """The answer that does not, and what the client is told."""
    answer = CLASSES["CheckResponse"]()
    answer.status.code = _PERMISSION_DENIED
    denied = answer.denied_response
    denied.status.code = http_status
    header = denied.headers.add().header
    header.key, header.value = "content-type", "application/json"
    denied.body = body.decode()
    return bytes(answer.SerializeToString())


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="ext_authz.proto", package=_PACKAGE, syntax="proto3")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            field = described.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
            if isinstance(kind, int):
                field.type = _Field.Type.ValueType(kind)
                continue
            whole = f"*{message}.{_entry_of(described, name)}" if kind == "map" else kind
            if whole.startswith("*"):
                field.label = _Field.LABEL_REPEATED
            if whole == "*":
                field.type = _TEXT
            else:
                field.type_name = f".{_PACKAGE}.{whole.removeprefix('*')}"
    return file


def _entry_of(described: descriptor_pb2.DescriptorProto, field: str) -> str:
    """Describe the entries of a map (Protocol Buffers, maps: wire format), and give their name."""
    name = "".join(map(str.capitalize, field.split("_"))) + "Entry"
    entry = described.nested_type.add(name=name)
    entry.options.map_entry = True
    for number, part in enumerate(("key", "value"), 1):
        entry.field.add(name=part, number=number, label=_Field.LABEL_OPTIONAL, type=_TEXT)
    return name


def _classes() -> Mapping[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_described().SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(found[name]) for name in found}


CLASSES: Final = _classes()
