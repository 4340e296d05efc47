"""An OpenAPI document, and its references: JSON pointers within it (RFC 6901), of which none is ever fetched.

Everything that is wrong is refused with the place it stands at, as a JSON pointer.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, NoReturn
from urllib.parse import unquote

from briefcase.core.json.pointer import NowhereError, token_of, value_at
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

MAX_REFERENCES: Final = 40  # in a row
MAX_SHOWN_CHARS: Final = 200
_VERSION: Final = re.compile(r"3\.([012])(?:\.\d+)?(?:-\w+)?")


class Node(NamedTuple):
    """A value of the document, and where it stands."""

    value: JsonValue
    pointer: str

    def at(self, *keys: str) -> Node:
        """What stands below, by the keys of objects; null where it is not there."""
        value, pointer = self.value, self.pointer
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
            pointer += "/" + token_of(key)
        return Node(value, pointer)

    def items(self) -> list[tuple[str, Node]]:
        """What stands below an object, by name; nothing below anything else."""
        if not isinstance(self.value, dict):
            return []
        return [(key, Node(below, f"{self.pointer}/{token_of(key)}")) for key, below in self.value.items()]

    def elements(self) -> list[Node]:
        """What a list holds; nothing of anything else."""
        if not isinstance(self.value, list):
            return []
        return [Node(below, f"{self.pointer}/{index}") for index, below in enumerate(self.value)]

    @property
    def object(self) -> JsonObject:
        """The value, where it is an object."""
        return self.value if isinstance(self.value, dict) else {}

    def text(self, key: str) -> str:
        """A text below; empty where there is none."""
        found = self.object.get(key)
        return found if isinstance(found, str) else ""


class Document:
    """An OpenAPI document of version 3.

    Args:
        value: the whole document.

    Raises:
        CallerError: it is none (`invalid_manifest`).
    """

    def __init__(self, value: JsonValue) -> None:
        version = value.get("openapi") if isinstance(value, dict) else None
        match = _VERSION.fullmatch(version) if isinstance(version, str) else None
        if not isinstance(value, dict) or match is None:
            refuse("", f"expected `openapi` 3.0.x or 3.1.x, or `swagger` 2.0, got {_shown(version)}")
        self.root = Node(value, "")
        self.is_30 = match[1] == "0"
        self.was_swagger = "swagger" in value

    @property
    def title(self) -> str:
        """What the API is called."""
        return self.root.at("info").text("title")

    def resolved(self, node: Node) -> Node:
        """A node, or the one it refers to.

        Raises:
            CallerError: a reference leads nowhere, out of the document, or back to itself.
        """
        start = node
        for _ in range(MAX_REFERENCES):
            if not isinstance(node.value, dict) or not isinstance(node.value.get("$ref"), str):
                return node
            node = self.target(node)
        return refuse(start.pointer, "its references come back to themselves")

    def target(self, node: Node) -> Node:
        """What the `$ref` of a node refers to. Raises as `resolved`."""
        reference = node.text("$ref")
        if reference != "#" and not reference.startswith("#/"):
            refuse(
                node.pointer, f"expected references within the document, got `{_cut(reference)}`: nothing is fetched"
            )
        fragment = reference[1:]
        found = self._found(unquote(fragment)) or self._found(fragment)  # RFC 6901 section 6, and as many write it
        if found is None:
            refuse(node.pointer, f"`{_cut(reference)}` leads nowhere")
        return found

    def _found(self, pointer: str) -> Node | None:
        try:
            return Node(value_at(self.root.value, pointer), pointer)
        except NowhereError:
            return None


def refuse(pointer: str, problem: str, *, hint: str = "") -> NoReturn:
    """Say what is wrong with a document, and where.

    Raises:
        CallerError: always (`invalid_manifest`).
    """
    at = f" at `#{pointer}`" if pointer else ""
    raise CallerError(f"the OpenAPI document{at}: {problem}", code="invalid_manifest", hint=hint) from None


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "…"


def _shown(value: JsonValue) -> str:
    return f"`{_cut(str(value))}`" if isinstance(value, str | int | float) else "none"
