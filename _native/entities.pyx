"""Entities from Cedar's JSON format: uids, attributes, parents and tags, ancestors closed transitively.

Only here are Cedar's JSON escapes understood (`{"__entity": …}`, `{"__extn": …}`): entity data and test corpora are
written by operators. Arguments of agents never come this way (`values.plain_value`).
A store is refused whole where Cedar would refuse it: a cycle, an entity given twice with different content, a malformed value.
"""

from briefcase._native.extensions cimport ExtensionFunction, extension_named
from briefcase._native.values cimport EntityUid, Fault, Record, make_set, plain_value, shown

cdef int MAX_VALUE_DEPTH = 128
cdef set ESCAPES = {"__entity", "__extn", "__expr"}

NOBODY = frozenset()
EMPTY = Record({})
NO_ENTITIES = Entities()


cdef class Entity:
    """One entity: its uid, all its ancestors, attributes and tags."""

    def __eq__(self, other):
        if type(other) is not Entity:
            return NotImplemented
        cdef Entity that = <Entity>other
        return (
            self.uid == that.uid
            and self.ancestors == that.ancestors
            and self.attrs == that.attrs
            and self.tags == that.tags
        )

    def __hash__(self):
        return hash(self.uid)


cdef class Entities:
    """An immutable store of entities by uid."""

    def __cinit__(self):
        self.by_uid = {}

    def __len__(self):
        return len(self.by_uid)

    def __contains__(self, EntityUid uid not None):
        return uid in self.by_uid

    def ancestors(self, EntityUid uid not None):
        """All ancestors of an entity; none where it is unknown."""
        cdef Entity entity = self.find(uid)
        return NOBODY if entity is None else entity.ancestors


cdef EntityUid uid_of(object json):
    """Read `{"type": …, "id": …}`, with or without the `__entity` around it."""
    if type(json) is EntityUid:
        return json
    if type(json) is dict and len(json) == 1 and "__entity" in json:
        json = json["__entity"]
    if type(json) is dict and len(json) == 2 and type(json.get("type")) is str and type(json.get("id")) is str:
        return EntityUid(json["type"], json["id"])
    raise ValueError(f"expected an entity uid with a `type` and an `id`, got `{shown(json)}`")


cdef object cedar_value(object json, int depth):
    """A value in Cedar's JSON format, escapes included.

    Raises:
        ValueError: no Cedar value is written like that.
    """
    cdef dict fields
    cdef Record record
    if depth > MAX_VALUE_DEPTH:
        raise ValueError(f"expected values nested at most {MAX_VALUE_DEPTH} deep")
    if type(json) is list:
        return make_set([cedar_value(element, depth + 1) for element in json])
    if type(json) is not dict:
        value = plain_value(json)
        if type(value) is Fault:
            raise ValueError(f"expected a Cedar value, got `{shown(json)}`")
        return value
    if not ESCAPES.isdisjoint(json):
        return escaped(json, depth)
    fields = {}
    for name, field in json.items():
        fields[name] = cedar_value(field, depth + 1)
    record = Record.__new__(Record)
    record.fields = fields
    return record


cdef object escaped(dict json, int depth):
    cdef ExtensionFunction function
    if len(json) == 1 and "__entity" in json:
        return uid_of(json)
    call = json.get("__extn")
    if len(json) != 1 or type(call) is not dict or type(call.get("fn")) is not str:
        raise ValueError(f"expected a lone `__entity` or `__extn` escape, got `{shown(json)}`")
    function = extension_named(call["fn"])
    if function is None:
        raise ValueError(f"expected an extension function, got `{call['fn']}`")
    given = part_of(call, "args", list) if "args" in call else [call.get("arg")]
    value = function.apply(tuple([cedar_value(argument, depth + 1) for argument in given]))
    if type(value) is Fault:
        raise ValueError((<Fault>value).problem)
    return value


def value_of(json):
    """Read a value in Cedar's JSON format; see `entities.pyi`."""
    return cedar_value(json, 0)


def compile_entities(entities):
    """Compile Cedar JSON entities into a store; see `entities.pyi`."""
    cdef dict parents = {}, by_uid = {}
    cdef Entity entity
    cdef Entities store = Entities.__new__(Entities)
    for json in entities:
        entity = entity_of(json)
        if entity.uid in by_uid and entity != by_uid[entity.uid]:
            raise ValueError(f"expected each entity once, got `{entity.uid}` again with other content")
        by_uid[entity.uid] = entity
        parents[entity.uid] = entity.ancestors
    for uid, ancestors in closed(parents).items():
        (<Entity>by_uid[uid]).ancestors = ancestors
    store.by_uid = by_uid
    return store


cdef Entity entity_of(object json):
    """Read one entity; its ancestors are only its parents yet."""
    cdef Entity entity = Entity.__new__(Entity)
    if type(json) is not dict or "uid" not in json:
        raise ValueError(f"expected an entity with a `uid`, got `{shown(json)}`")
    entity.uid = uid_of(json["uid"])
    attrs = cedar_value(part_of(json, "attrs", dict), 0)
    if type(attrs) is not Record:
        raise ValueError(f"expected `attrs` to be a record, got `{shown(json['attrs'])}`")
    entity.attrs = attrs
    entity.tags = {name: cedar_value(tag, 0) for name, tag in part_of(json, "tags", dict).items()}
    entity.ancestors = frozenset([uid_of(parent) for parent in part_of(json, "parents", list)])
    return entity


cdef object part_of(dict json, str name, type expected):
    part = json.get(name, expected())
    if type(part) is not expected:
        raise ValueError(f"expected `{name}` to be {'an object' if expected is dict else 'an array'}, got `{shown(part)}`")
    return part


cdef dict closed(dict parents):
    """The transitive closure of `parents`, by depth-first search without recursion.

    Raises:
        ValueError: an entity would be its own ancestor.
    """
    cdef dict ancestors = {}
    cdef set open_uids = set()
    cdef list path
    for root in parents:
        path = [root]
        while path:
            uid = path[-1]
            if uid in ancestors:
                path.pop()
            elif uid in open_uids:
                open_uids.discard(uid)
                direct = parents.get(uid, NOBODY)
                ancestors[uid] = direct.union(*[ancestors[parent] for parent in direct])
                path.pop()
            else:
                open_uids.add(uid)
                for parent in parents.get(uid, NOBODY):
                    if parent in open_uids:
                        raise ValueError(f"expected a hierarchy without cycles, got `{parent}` above itself")
                    if parent not in ancestors:
                        path.append(parent)
    return {uid: ancestors[uid] for uid in parents}
