"""Cedar entities and values from Cedar's JSON formats."""

from collections.abc import Mapping, Sequence

from .values import EntityUid, Value

class Entity:
    """One entity of a store."""

    uid: EntityUid
    ancestors: frozenset[EntityUid]

class Entities:
    """An immutable store of entities, ancestors closed transitively."""

    def __len__(self) -> int: ...
    def __contains__(self, uid: EntityUid) -> bool: ...
    def ancestors(self, uid: EntityUid) -> frozenset[EntityUid]:
        """All ancestors of an entity; none where it is unknown."""

def value_of(json: object) -> Value:
    """Read a value in Cedar's JSON format, escapes (`__entity`, `__extn`) included.

    For operators' data and test corpora only: what an agent sent goes into a `Record` as it is.

    Args:
        json: parsed JSON.

    Returns:
        A Cedar value (see `briefcase._native.values`).

    Raises:
        ValueError: no Cedar value is written like that, or nested more than 128 deep.
    """

def compile_entities(entities: Sequence[Mapping[str, object]]) -> Entities:
    """Compile entities in Cedar's JSON format.

    Args:
        entities: a list of `{"uid": …, "attrs": {…}, "parents": […], "tags": {…}}`; all but `uid` may be left out.

    Returns:
        The store.

    Raises:
        ValueError: a malformed entity or value, a cycle, or one uid with different contents.
    """
