# ruff: noqa: INP001 - the documentation is no package
"""Rewrite what is generated from the code: `python -m docs.generate`, from the top of the checkout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import orjson

from briefcase.edges.api import openapi as daemon_openapi
from briefcase.edges.control_plane import openapi as control_plane_openapi
from briefcase.model.types import JsonObject
from docs.draw_house import house_svg
from docs.write_reference import reference_md
from docs.write_typescript import wire_ts

DOCS: Final = Path(__file__).parent


def openapi_json() -> str:
    """The daemon's OpenAPI document."""
    return _indented(daemon_openapi.openapi_document())


def control_plane_openapi_json() -> str:
    """The control plane's OpenAPI document."""
    return _indented(control_plane_openapi.openapi_document())


def _indented(document: JsonObject) -> str:
    """A document with its keys in the order of the code."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


GENERATED: Final[Mapping[str, Callable[[], str]]] = {
    "control-plane-openapi.json": control_plane_openapi_json,
    "house.svg": house_svg,
    "openapi.json": openapi_json,
    "reference.md": reference_md,
    "clients/typescript/wire.ts": wire_ts,
}


def main() -> None:
    """Write each document."""
    for name, write in GENERATED.items():
        (DOCS / name).write_text(write(), encoding="utf-8")


if __name__ == "__main__":
    main()
