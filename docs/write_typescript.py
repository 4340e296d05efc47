# ruff: noqa: INP001 - the documentation is no package
"""The types of the TypeScript client, of the daemon's OpenAPI document, and the sentences beside the reason words."""

from __future__ import annotations

import json
from typing import Any, Final

from briefcase.edges.api import openapi as daemon_openapi
from briefcase.model.reasons import FAULT_NEXT_STEPS, REASONS

ROOTS: Final = (
    "CallRequest",
    "CallOk",
    "CallNeedsApproval",
    "CallDenied",
    "CallFailed",
    "DecisionAllowed",
    "OutcomeReport",
    "OutcomeRecorded",
    "IdentityAnswer",
    "ErrorBody",
)
HEAD: Final = "// Written by `make docs` from openapi.json and the table of reasons: change those.\n"
_PLAIN: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def wire_ts() -> str:
    """What the client sends and reads, as TypeScript."""
    schemas = daemon_openapi.openapi_document()["components"]["schemas"]
    names, left = [], list(ROOTS)
    while left:
        name = left.pop(0)
        if name not in names:
            names.append(name)
            left += _references(schemas[name])
    types = "\n".join(_interface(name, schemas[name]) for name in sorted(names))
    steps = {word: reason.next_step for word, reason in REASONS.items()} | FAULT_NEXT_STEPS
    table = json.dumps(steps, indent=2, ensure_ascii=False)
    return f"{HEAD}\n{types}\nexport const NEXT_STEPS: Readonly<Record<string, string>> = {table};\n"


def _references(schema: object) -> list[str]:
    if isinstance(schema, dict):
        own = [str(schema["$ref"]).rpartition("/")[2]] if "$ref" in schema else []
        return own + [name for value in schema.values() for name in _references(value)]
    return [name for value in schema for name in _references(value)] if isinstance(schema, list) else []


def _interface(name: str, schema: dict[str, Any]) -> str:
    first = str(schema.get("description", "")).partition("\n")[0]
    lines = [f"/** {first} */", f"export interface {name} {{"]
    required = schema.get("required", [])
    for field, kind in schema["properties"].items():
        lines.append(f"  {field}{'' if field in required else '?'}: {_type(kind)};")
    return "\n".join([*lines, "}", ""])


def _type(schema: dict[str, Any]) -> str:
    """A schema as a type; what it does not say is `unknown`."""
    match schema:
        case {"$ref": reference}:
            found = str(reference).rpartition("/")[2]
        case {"enum": words}:
            found = " | ".join(map(json.dumps, words))
        case {"anyOf": kinds} | {"oneOf": kinds}:
            found = " | ".join(map(_type, kinds))
        case {"type": "array"}:
            found = f"Array<{_type(schema.get('items', {}))}>"
        case {"type": "object"}:
            found = "Record<string, unknown>"
        case {"type": plain}:
            found = _PLAIN[plain]
        case _:
            found = "unknown"
    return found
