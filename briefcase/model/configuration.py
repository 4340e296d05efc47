"""What a daemon of an environment would start with: each setting, its value, and where the value came from."""

from __future__ import annotations

from typing import Literal

import msgspec

from briefcase.model.errors import ConfigError
from briefcase.model.types import JsonValue

Source = Literal["default", "environment", "file"]


class Setting(msgspec.Struct, frozen=True):
    """A variable, or a key of the configuration file as `section.key`.

    `value` is None where there is none, and where it may not be shown (`is_hidden`). `otherwise` says what holds where
    there is none.
    """

    name: str
    value: JsonValue
    source: Source
    default: JsonValue = None
    unit: str = ""
    otherwise: str = ""
    is_hidden: bool = False
    page: str = ""


class Configuration(msgspec.Struct, frozen=True):
    """Each setting by its heading, the configuration file's path, and what of it a daemon would refuse."""

    file: str
    groups: dict[str, list[Setting]]
    problems: tuple[ConfigError, ...] = ()
