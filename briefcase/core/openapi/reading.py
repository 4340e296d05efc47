"""What the reading of one operation collects: its arguments, what they do otherwise, and what cannot be carried."""

from __future__ import annotations

from typing import Final

import msgspec

from briefcase.core.openapi.document import Document, refuse
from briefcase.core.openapi.operations import Operation
from briefcase.core.openapi.schemas import SchemaWriter, unicode_text
from briefcase.model.types import JsonObject, JsonValue

MAX_DESCRIPTION_CHARS: Final = 1_000

ARRAY: Final = "array"
OBJECT: Final = "object"
NESTED: Final = "nested"


class Reading(msgspec.Struct, frozen=True):
    """One operation on its way into a manifest.

    `dependent` has the arguments that an argument cannot go without, `remarks` what the operator should know, and
    `uncarried` the optional parts that a request will not have.
    """

    document: Document
    operation: Operation
    schemas: SchemaWriter
    arguments: dict[str, JsonValue] = msgspec.field(default_factory=dict)
    properties: JsonObject = msgspec.field(default_factory=dict)
    required: list[JsonValue] = msgspec.field(default_factory=list)
    dependent: JsonObject = msgspec.field(default_factory=dict)
    remarks: list[str] = msgspec.field(default_factory=list)
    uncarried: list[str] = msgspec.field(default_factory=list)

    def add(self, name: str, place: JsonValue, schema: JsonValue, *, where: str, required: bool) -> str:
        """Add an argument; gives its name, which says where it goes too where another one has the name already."""
        argument = unicode_text(name)
        if argument in self.arguments:
            argument = f"{where}_{argument}"
        while argument in self.arguments:
            argument += "_"
        self.arguments[argument] = place
        self.properties[argument] = schema
        if required:
            self.required.append(argument)
        return argument

    def lack(self, pointer: str, problem: str, *, required: bool) -> None:
        """Note a part that cannot be carried.

        Raises:
            CallerError: the operation needs it.
        """
        if required:
            refuse(pointer, f"`{self.operation.key}` cannot be imported: {problem}")
        self.uncarried.append(f"{problem} (at `#{pointer}`)")


def described(schema: JsonValue, text: JsonValue) -> JsonValue:
    """A schema with a description, unless it has one."""
    if not isinstance(text, str) or not text or not isinstance(schema, dict) or "description" in schema:
        return schema
    return {**schema, "description": unicode_text(text)[:MAX_DESCRIPTION_CHARS]}


def shapes_of(schema: JsonValue) -> set[str]:
    """Which of ARRAY and OBJECT a schema's values may be, and NESTED where one of these may hold another."""
    if not isinstance(schema, dict):
        return set()
    kind = schema.get("type")
    kinds = {str(each) for each in kind} if isinstance(kind, list) else {kind}
    found: set[str] = set()
    below: list[JsonValue] = []
    if ARRAY in kinds or (kind is None and ("items" in schema or "prefixItems" in schema)):
        found.add(ARRAY)
        below.append(schema.get("items"))
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    if OBJECT in kinds or (kind is None and (properties or isinstance(others, dict))):
        found.add(OBJECT)
        below += [*(properties.values() if isinstance(properties, dict) else ()), others]
    if any(shapes_of(each) for each in below):
        found.add(NESTED)
    for keyword in ("allOf", "anyOf", "oneOf"):
        branches = schema.get(keyword)
        for branch in branches if isinstance(branches, list) else ():
            found |= shapes_of(branch)
    return found
