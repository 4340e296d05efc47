"""The operations of a document, each with an id of its own, and how an operator chooses among them.

An id is the document's `operationId` in the characters that a tool's id may have, or else method and path. Where two
would be the same, the later one ends in eight digits of the SHA-256 of its method and path, so that ids do not depend
on what is imported beside them.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from briefcase.core.openapi.document import Document, Node, refuse

METHODS: Final = ("get", "head", "options", "post", "put", "patch", "delete", "trace")
MAX_ID_CHARS: Final = 64
MAX_NEAREST: Final = 3
_DIGITS: Final = 8
_NOT_IN_ID: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_NOT_IN_SLUG: Final = re.compile(r"[^a-z0-9]+")


class Operation(msgspec.Struct, frozen=True):
    """One operation: its tool's id, what the document calls it, and where it stands.

    `bare_id` is the id without a prefix, as operations are listed before one is chosen. `item` is the path's, `node`
    the operation's own.
    """

    id: str
    bare_id: str
    own_id: str
    method: str
    path: str
    item: Node
    node: Node

    @property
    def key(self) -> str:
        """Method and path, as the document writes them."""
        return f"{self.method} {self.path}"

    @property
    def summary(self) -> str:
        """A line that says what it does; empty where the document has none."""
        return self.node.text("summary") or self.node.text("description").partition("\n")[0]


def operations_of(document: Document, prefix: str = "") -> list[Operation]:
    """Every operation of a document, in its order.

    Args:
        document: it.
        prefix: what each id begins with; empty for nothing.

    Raises:
        CallerError: a path's reference leads nowhere.
    """
    found: list[Operation] = []
    taken: set[str] = set()
    taken_bare: set[str] = set()
    for path, entry in document.root.at("paths").items():
        item = document.resolved(entry)
        for method in METHODS:
            node = item.at(method)
            if isinstance(node.value, dict):
                operation_id = _id_of(node, method, path, prefix, taken)
                taken.add(operation_id.casefold())
                bare_id = _id_of(node, method, path, "", taken_bare)
                taken_bare.add(bare_id.casefold())
                own_id = node.text("operationId")
                found.append(Operation(operation_id, bare_id, own_id, method.upper(), path, item, node))
    return found


def chosen_operation(operations: Sequence[Operation], wanted: str) -> Operation:
    """The one operation that an operator means: by its id, prefixed or bare, the document's own, or `METHOD /path`.

    Raises:
        CallerError: there is none, or more than one.
    """
    matches = [each for each in operations if wanted in {each.id, each.bare_id, each.key, each.own_id}]
    if len(matches) == 1:
        return matches[0]
    if matches:
        keys = ", ".join(f"`{operation.key}`" for operation in matches[:MAX_NEAREST])
        refuse("", f"`{wanted[:200]}` is the id of {len(matches)} operations: choose by method and path, like {keys}")
    names = {name: operation for operation in operations for name in (operation.key, operation.own_id, operation.id)}
    near = difflib.get_close_matches(wanted, list(names), n=MAX_NEAREST, cutoff=0.5)
    nearest = list(dict.fromkeys(names[name].own_id or names[name].key for name in near))
    hint = f"did you mean {' or '.join(f'`{name}`' for name in nearest)}?" if nearest else ""
    return refuse(
        "", f"no operation `{wanted[:200]}` among {len(operations)}", hint=hint or "list them: leave out --operation"
    )


def slug_of(text: str) -> str:
    """A name in the characters that an id and a secret's name may have both; empty where it has none of them."""
    return _NOT_IN_SLUG.sub("-", text.lower()).strip("-")[:32].strip("-")


def _id_of(node: Node, method: str, path: str, prefix: str, taken: set[str]) -> str:
    text = node.text("operationId") or f"{method}{path}"
    plain = _NOT_IN_ID.sub("_", f"{prefix}_{text}" if prefix else text).strip("_.-") or method
    short = plain[:MAX_ID_CHARS].strip("_.-")
    if short.casefold() not in taken:
        return short
    digits = hashlib.sha256(f"{method.upper()} {path}".encode(errors="replace")).hexdigest()[:_DIGITS]
    return f"{plain[: MAX_ID_CHARS - _DIGITS - 1]}_{digits}"
