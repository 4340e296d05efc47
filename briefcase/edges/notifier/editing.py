"""Changes of `notifier.toml` that leave everything else in it as its owner wrote it, comments and all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from briefcase.adapters.disk.directories import make_private_dirs
from briefcase.adapters.disk.files import write_private
from briefcase.adapters.disk.locks import locked
from briefcase.edges.notifier.settings import Target, check_target, parse_settings, read_text
from briefcase.model.errors import CallerError

if TYPE_CHECKING:
    import tomlkit

TARGETS: Final = "targets"


def add_target(path: Path, name: str, target: Target) -> None:
    """Add a target, or put another in the place of the one of this name; makes the file where there is none.

    Raises:
        ConfigError: the target, or the file, is not as expected.
        StoreError: the file cannot be read or written.
    """
    check_target(name, target)
    fields = msgspec.to_builtins(target)
    said = {key: value for key, value in fields.items() if value not in ("", [], (), None)}

    def add(document: tomlkit.TOMLDocument) -> None:
        document.setdefault(TARGETS, {})[name] = said

    _edit(path, add)


def remove_target(path: Path, name: str) -> None:
    """Remove a target.

    Raises:
        CallerError: there is none of this name (`not_found`).
        ConfigError: the file is not as expected.
        StoreError: it cannot be read or written.
    """

    def remove(document: tomlkit.TOMLDocument) -> None:
        targets = document.get(TARGETS, {})
        if name not in targets:
            raise CallerError(f"no target `{name}`", code="not_found", hint="see `briefcase notify list`")
        del targets[name]

    _edit(path, remove)


def _edit(path: Path, change: Callable[[tomlkit.TOMLDocument], None]) -> None:
    import tomlkit

    make_private_dirs(path.parent)
    with locked(path.with_name(f"{path.name}.lock")):
        text = read_text(path) or ""
        parse_settings(text, path)
        document = tomlkit.parse(text)
        change(document)
        changed = tomlkit.dumps(document)
        parse_settings(changed, path)
        write_private(path, changed.encode())
