"""Values of the Cedar language that Python code makes or sees.

A bool, a long and a string are the Python object itself.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

class Fault:
    """An error as a value: using it is an error of the policy that does."""

    problem: str
    def __init__(self, problem: str) -> None: ...

class EntityUid:
    """The name of an entity. Immutable, hashable, compared by value.

    Args:
        type: the entity type with its namespace, for example `Agent` or `App::Photo`.
        id: any text.
    """

    type: str
    id: str
    def __init__(self, type: str, id: str) -> None: ...  # noqa: A002
    def __hash__(self) -> int: ...
    def __eq__(self, other: object) -> bool: ...

class Extension:
    """What decimal, ip address, datetime and duration have in common: they are values."""

class SetValue:
    """A Cedar set."""

    keys: frozenset[Any]
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...

class Record:
    """A Cedar record over a plain mapping, whose fields are converted when a policy reads them.

    A field may hold plain JSON (no key is an escape; null, fractions and integers beyond 64 bits are unrepresentable:
    using them is an error) or a Cedar value made by this package. The mapping must not change afterwards.

    Args:
        fields: values by attribute name.
    """

    def __init__(self, fields: dict[str, Any]) -> None: ...
    def __len__(self) -> int: ...

unrepresentable: Fault

Value: TypeAlias = bool | int | str | EntityUid | SetValue | Record | Extension
