"""Which settings there are, and what each is in an environment: for `briefcase config show` and the reference page.

The daemon itself starts from `settings` and `config_file`; this says what they made of what they were given.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import inspect

from briefcase.adapters.disk.data_dir import data_dir_of, named_path, socket_path_of
from briefcase.daemon.config_file import CONFIG_FILE, PAGES, FileConfig, load_file
from briefcase.daemon.settings import parse_settings
from briefcase.model.configuration import Configuration, Setting, Source
from briefcase.model.errors import ConfigError
from briefcase.model.types import JsonValue
from briefcase.model.variables import VARIABLES, Variable

UNITS: Final = {
    "bytes_per_second": "bytes a second",
    "per_second": "a second",
    "_bytes": "bytes",
    "_ms": "milliseconds",
    "_s": "seconds",
}  # by the end of a name, the longest first
_PLACES: Final = {"BRIEFCASE_DATA_DIR": data_dir_of, "BRIEFCASE_UNIX_SOCKET": socket_path_of}


class Key(NamedTuple):
    """A key of the configuration file. `allowed` says in words which values it takes."""

    section: str
    name: str
    default: JsonValue
    unit: str
    allowed: str
    what: str

    @property
    def page(self) -> str:
        """The page that explains it."""
        return PAGES[self.section]


def config_keys() -> Iterator[Key]:
    """Every key of the configuration file, in the order of the code."""
    for section in _struct(inspect.type_info(FileConfig)).fields:
        for key in _struct(section.type).fields:
            kind = key.type
            if not isinstance(kind, inspect.Metadata) or kind.extra_json_schema is None:
                raise TypeError(f"`{section.name}.{key.name}` has no description")
            default: JsonValue = msgspec.to_builtins(key.default)
            what = str(kind.extra_json_schema["description"])
            yield Key(section.name, key.name, default, unit_of(key.name), _allowed(kind.type), what)


def unit_of(name: str) -> str:
    """The unit that the name of a quantity ends with."""
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")


def configuration(environ: Mapping[str, str]) -> Configuration:
    """Every setting of an environment, with where its value came from; nothing secret is in it.

    Args:
        environ: the variables.

    Raises:
        ConfigError: the data directory's own variable is not as expected.
    """
    path = data_dir_of(environ) / CONFIG_FILE
    groups = {heading: [_of_variable(one, environ) for one in found] for heading, found in VARIABLES.items()}
    problems = []
    try:
        parse_settings(environ)
    except ConfigError as error:
        problems.append(error)
    try:
        groups |= _of_file(path, environ)
    except ConfigError as error:
        problems.append(error)
    return Configuration(str(path), groups, tuple(problems))


def _of_variable(variable: Variable, environ: Mapping[str, str]) -> Setting:
    given = environ.get(variable.name)
    value: str | None = None
    if variable.name in _PLACES:
        value = str(_PLACES[variable.name](environ))
    elif given:
        value = variable.shown(given if variable.form != "path" else str(named_path(environ, variable.name)))
    elif variable.default:
        value = variable.default
    return Setting(
        variable.name,
        value,
        "environment" if given else "default",
        default=variable.default or None,
        unit=variable.unit,
        otherwise="" if given else variable.otherwise,
        is_hidden=bool(given) and value is None,
        page=variable.page,
    )


def _of_file(path: Path, environ: Mapping[str, str]) -> dict[str, list[Setting]]:
    values = msgspec.to_builtins(load_file(path, environ))
    written = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    groups: dict[str, list[Setting]] = {}
    for key in config_keys():
        source: Source = "file" if key.name in written.get(key.section, {}) else "default"
        setting = Setting(
            f"{key.section}.{key.name}",
            values[key.section][key.name],
            source,
            default=key.default,
            unit=key.unit,
            page=key.page,
        )
        groups.setdefault(f"{CONFIG_FILE} [{key.section}]", []).append(setting)
    return groups


def _struct(kind: inspect.Type) -> inspect.StructType:
    if not isinstance(kind, inspect.StructType):
        raise TypeError(f"expected a struct, got {kind}")
    return kind


def _allowed(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.LiteralType):
        return ", ".join(f"`{word}`" for word in kind.values)
    if isinstance(kind, inspect.IntType):
        least = kind.ge if kind.gt is None else kind.gt + 1
        return f"{least} to {kind.le}" if kind.le is not None else f"at least {least}"
    return "texts" if isinstance(kind, inspect.VarTupleType) else "a text"
