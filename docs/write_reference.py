# ruff: noqa: INP001 - the documentation is no package
"""The page `reference.md`: every variable and every key of the configuration file, from the tables of the code."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Final

import orjson

from briefcase.daemon.config_file import CONFIG_FILE, FileConfig
from briefcase.daemon.configuration import Key, config_keys
from briefcase.daemon.settings import UNSERVED
from briefcase.model.variables import VARIABLES, Variable

HEAD: Final = f"""# Every setting

Made from the code by `make docs`; a test compares it, and fails where a variable is read that does not stand here.
`briefcase config show` prints what each is in an environment, and where its value came from: its default, the
environment, or the file `{CONFIG_FILE}` in the data directory.

A variable that is empty counts as not set. A path may begin with `~/`. A value that is not as expected stops the
program with the name, what was expected and what was found; so does a variable one slip away from a known one.
"""


def reference_md() -> str:
    """The page."""
    parts = [HEAD, *(_variables(heading, found) for heading, found in VARIABLES.items())]
    parts.append(
        f"# {CONFIG_FILE}\n\nIn the data directory, read once at the start. An unknown key is refused. Every key is"
        " optional.\n"
    )
    parts += [_keys(section, keys) for section, keys in groupby(config_keys(), key=lambda key: key.section)]
    return "\n".join(parts)


def _variables(heading: str, variables: Iterable[Variable]) -> str:
    rows = [
        (
            f"`{one.name}`",
            f"`{one.default}`" if one.default else one.otherwise,
            one.unit,
            _what(one),
            _link(one.page),
        )
        for one in variables
    ]
    return f"## {heading}\n\n{_table(('variable', 'default', 'unit', 'what', 'page'), rows)}"


def _what(one: Variable) -> str:
    if one.name in UNSERVED:
        return f"{one.what}; refused at the start: {UNSERVED[one.name]}"
    notes = [", ".join(f"`{word}`" for word in one.words), "secret" if one.is_secret else ""]
    notes.append(f"read by {one.reader}" if one.reader else "")
    return "; ".join([one.what, *filter(None, notes)])


def _keys(section: str, keys: Iterable[Key]) -> str:
    rows = [
        (
            f"`{key.name}`",
            f"`{orjson.dumps(key.default).decode()}`",
            key.unit,
            f"{key.what}; {key.allowed}",
            _link(key.page),
        )
        for key in keys
    ]
    doc = type(getattr(FileConfig(), section)).__doc__ or ""
    first = doc.splitlines()[0].partition(": ")[2]
    return (
        f"## [{section}]\n\n{first[0].upper()}{first[1:]}\n\n{_table(('key', 'default', 'unit', 'what', 'page'), rows)}"
    )


def _link(page: str) -> str:
    path, _, anchor = page.partition("#")
    name = path.removesuffix(".md").removesuffix("/README")
    return f"[{anchor.replace('-', ' ') or name}]({page})"


def _table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [headers, ["---"] * 5, *rows]
    return "".join("|" + "".join(f" {cell} |" for cell in line).replace("  |", " |") + "\n" for line in lines)
