# ruff: noqa: INP001 - the documentation is no package
"""Rewrite what is generated from the code: `python -m docs.generate`, from the top of the checkout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import orjson

from briefcase.edges.api.openapi import openapi_document
from docs.draw_house import house_svg
from docs.write_reference import reference_md

DOCS: Final = Path(__file__).parent


def openapi_json() -> str:
    """The OpenAPI document, indented, its keys in the order of the code."""
    return orjson.dumps(openapi_document(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


GENERATED: Final[Mapping[str, Callable[[], str]]] = {
    "house.svg": house_svg,
    "openapi.json": openapi_json,
    "reference.md": reference_md,
}


def main() -> None:
    """Write each document."""
    for name, write in GENERATED.items():
        (DOCS / name).write_text(write(), encoding="utf-8")


if __name__ == "__main__":
    main()
