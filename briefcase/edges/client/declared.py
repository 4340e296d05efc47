"""A program's own functions as tools: what each takes, what the operator is given to register, and what is compared.

A tool is the operator's to register: an agent's token can do nothing but ask. So a function that is declared here
writes its own manifest (`manifest_of`), which the operator puts beside the others; and before it runs, the daemon must
know it under the same category, cost and schema. What the operator changed since is refused, not guessed.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from briefcase.edges.client.conversations import encode_args
from briefcase.edges.client.verdicts import BoundaryFault

_TYPES: Final[Mapping[object, str]] = {
    str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object",
}  # fmt: skip
_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Declaration(NamedTuple):
    """One function as a tool."""

    tool_id: str
    description: str
    category: str
    cost_usd: Decimal
    input_schema: dict[str, Any]
    signature: inspect.Signature

    def args_json(self, args: tuple[object, ...], kwargs: dict[str, Any]) -> str:
        """The arguments of one call, defaults among them, as they are decided on.

        Raises:
            TypeError: as the function's own call would.
            BoundaryFault: JSON cannot hold them (`invalid_args`).
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return encode_args(bound.arguments)

    def check(self, tools: Iterable[dict[str, Any]]) -> str:
        """Check that the daemon knows the tool as it is declared here.

        Raises:
            BoundaryFault: it does not know it (`unknown_tool`), or knows it otherwise (`conflict`).

        Returns:
            The digest of the definition.
        """
        known = next((tool for tool in tools if tool.get("id") == self.tool_id), None)
        if known is None:
            raise BoundaryFault(
                "unknown_tool",
                f"the daemon does not know `{self.tool_id}`",
                "the operator registers it: put what `boundary.manifest()` gives into the data directory's `tools/`",
            )
        category, cost = known.get("category"), known.get("cost")
        said = category.get("other") if isinstance(category, dict) else category
        usd = cost.get("estimated_usd") if isinstance(cost, dict) else None
        differing = [
            name
            for name, is_same in {
                "category": said == self.category,
                "cost": isinstance(usd, int | float) and Decimal(str(usd)) == self.cost_usd,
                "input_schema": known.get("input_schema") == self.input_schema,
            }.items()
            if not is_same
        ]
        if differing:
            raise BoundaryFault(
                "conflict",
                f"the daemon knows `{self.tool_id}` with another {', '.join(differing)} than the program declares",
                "have the operator register the present manifest, or declare what is registered",
            )
        return str(known.get("digest_hex", ""))


def declare(
    function: Callable[..., object],
    *,
    category: str,
    cost: float | str,
    tool_id: str | None,
    input_schema: dict[str, Any] | None,
) -> Declaration:
    """Read what a function takes.

    Args:
        function: its parameters have names, and its docstring's first line says what it does.
        category: `read`, `write`, `admin`, or a word of the operator's.
        cost: what a call is expected to cost, in dollars.
        tool_id: its id at the daemon; the function's name where it is None.
        input_schema: the schema of its arguments; made from the annotations where it is None.

    Raises:
        TypeError: it takes arguments that have no name.
    """
    signature = inspect.signature(function)
    for name, parameter in signature.parameters.items():
        if parameter.kind not in _BY_NAME:
            raise TypeError(f"expected a function whose arguments have names, got `{name}`")
    return Declaration(
        tool_id or function.__name__,
        (inspect.getdoc(function) or "").partition("\n")[0],
        category,
        Decimal(str(cost)),
        _schema_of(function, signature) if input_schema is None else input_schema,
        signature,
    )


def check_done(result: object) -> None:
    """Check that a function has done what it does: what it only began would run after its outcome is reported.

    Raises:
        TypeError: it gave a generator, or what is to be awaited.
    """
    if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError("expected a function that has run when it returns, got a generator or what is to be awaited")


def manifest_of(declarations: Iterable[Declaration]) -> str:
    """The manifest that an operator registers these tools with."""
    tools = [
        {
            "id": one.tool_id,
            "description": one.description,
            "category": one.category,
            "cost_usd": str(one.cost_usd),
            "input_schema": one.input_schema,
        }
        for one in declarations
    ]
    return json.dumps({"caller_tools": tools}, indent=2, ensure_ascii=False) + "\n"


def _schema_of(function: Callable[..., object], signature: inspect.Signature) -> dict[str, Any]:
    hints = typing.get_type_hints(function)
    properties: dict[str, Any] = {}
    for name in signature.parameters:
        hint = hints.get(name)
        kind = _TYPES.get(typing.get_origin(hint) or hint)
        properties[name] = {} if kind is None else {"type": kind}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
