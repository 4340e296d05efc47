"""Strict JSON, read in one pass (RFC 8259, narrowed to RFC 7493): what `briefcase.core.json.strict` says in words."""

from typing import Any

class NotStrictError(Exception):
    """Why a text is not read.

    `problem` is one of `syntax`, `more`, `depth`, `values`, `encoding`, `duplicate`, `constant`, `integer`,
    `long_number`, `range`, `integral`, `underflow`, `lone_surrogate`; `start` and `end` are byte offsets of what it is
    about; `about` is the key of a duplicate, or what the grammar wanted at `start`.
    """

    problem: str
    start: int
    end: int
    about: str

    def __init__(self, problem: str, start: int, end: int, about: str) -> None: ...

def read_strict(data: bytes, max_depth: int, max_values: int) -> Any:
    """Read one JSON value.

    Args:
        data: UTF-8 bytes.
        max_depth: how many arrays and objects may be nested in one another.
        max_values: how many values there may be in all, arrays and objects among them.

    Raises:
        NotStrictError: it is none, or one that two readers could read differently.
    """
