"""The bytes of an OpenAPI document, JSON or YAML, as one value.

Unlike what agents send, a document is the operator's own file, and much in it is never used. So numbers are taken as
they are, and whatever is not exact is refused where an operation uses it (`briefcase.core.openapi`). What two readers
could take differently is refused here, with its place: a key twice, NaN, bytes that are no UTF-8.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn

from briefcase.adapters.openapi.yaml_reader import read_yaml
from briefcase.core.json.pointer import token_of
from briefcase.core.openapi.document import Document
from briefcase.core.openapi.swagger2 import converted
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

MAX_DOCUMENT_BYTES: Final = 64 << 20
MAX_DEPTH: Final = 200
_MARK: Final = b"\xef\xbb\xbf"


def read_document(text: bytes) -> Document:
    """Read a document of OpenAPI 3.0 or 3.1, or of Swagger 2.0, which is converted.

    Raises:
        CallerError: it is no JSON and no YAML, or none of these documents (`invalid_manifest`).
    """
    if len(text) > MAX_DOCUMENT_BYTES:
        _refuse(f"expected at most {MAX_DOCUMENT_BYTES} bytes, got more")
    text = text.removeprefix(_MARK)
    value = read_json(text) if text.lstrip()[:1] in {b"{", b"["} else read_yaml(text)
    if isinstance(value, dict) and "swagger" in value:
        value = converted(value)
    return Document(value)


def read_json(text: bytes) -> JsonValue:
    """Read JSON.

    Raises:
        CallerError: it is none, nested too deep, or has a key twice or a number that JSON has not.
    """
    twice: list[tuple[JsonObject, str]] = []
    constants: list[str] = []

    def object_of(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice.append((found, next(key for index, key in enumerate(keys) if key in keys[:index])))
        return found

    try:
        value: JsonValue = json.loads(text.decode(), object_pairs_hook=object_of, parse_constant=constants.append)
    except UnicodeDecodeError as error:
        _refuse(f"expected UTF-8, got an invalid sequence at byte {error.start}")
    except json.JSONDecodeError as error:
        _refuse(f"expected JSON, got a syntax error at line {error.lineno} column {error.colno}: {error.msg.lower()}")
    except RecursionError:
        _refuse(f"expected at most {MAX_DEPTH} nested arrays and objects, got more")
    except ValueError:  # an integer of thousands of digits
        _refuse("expected numbers of at most 4,300 digits, got a longer one")
    if constants:
        _refuse(f"expected JSON, got the number `{constants[0]}`")
    if twice:
        owner, key = twice[0]
        _refuse(f"expected each key once, got `{key[:200]}` twice at `#{_pointer_of(value, owner)}`")
    return value


def _pointer_of(value: JsonValue, wanted: JsonObject) -> str:
    """Where an object stands, by its identity."""
    waiting: list[tuple[JsonValue, str]] = [(value, "")]
    while waiting:
        found, pointer = waiting.pop()
        if found is wanted:
            return pointer
        if isinstance(found, dict):
            waiting += [(below, f"{pointer}/{token_of(key)}") for key, below in found.items()]
        elif isinstance(found, list):
            waiting += [(below, f"{pointer}/{index}") for index, below in enumerate(found)]
    return ""


def _refuse(problem: str) -> NoReturn:
    raise CallerError(f"the OpenAPI document: {problem}", code="invalid_manifest") from None
