"""Values of the Cedar language: entity uids, sets and records, their equality, and plain JSON read as values.

Equality is Cedar's: by value, never between types (`true` is not `1`). Sets and records are hashed, with a hash that
cannot be steered from outside, so that a set of a million members is searched, and built, in linear time.

Plain JSON is what a tool call's arguments are made of. It is read as strings, booleans, longs, sets (arrays) and
records (objects); no key of it is ever an escape. What Cedar has no value for (null, fractions, integers beyond 64 bits)
becomes `UNREPRESENTABLE`: it may be there, but whoever uses it gets an error. Nothing is converted before it is read.
"""

import reprlib

cimport cython
from cpython.dict cimport PyDict_GetItemWithError
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.object cimport PyObject

cdef extern from "Python.h":
    object PyUnicode_FromObject(object text)

cdef int MAX_VALUE_DEPTH = 128  # nesting of a value: bounds recursion in conversion, equality and hashing


@cython.final
cdef class Fault:
    """An error as a value: what Cedar reports for the policy that meets it."""

    def __init__(self, str problem not None):
        self.problem = problem

    def __repr__(self):
        return f"Fault({self.problem!r})"


UNREPRESENTABLE = Fault("the value is none Cedar can represent (null, a fraction, an integer beyond 64 bits)")
unrepresentable = UNREPRESENTABLE

# Mixed into every composite hash. String hashes are keyed for each process, so this is too.
cdef Py_hash_t SALT = hash("briefcase._native.values")


@cython.final
cdef class EntityUid:
    """The name of an entity: its type (`Agent`, `App::Photo`) and its id (any text)."""

    def __init__(self, str type not None, str id not None):
        self.type = type
        self.id = id
        self.hashed = hash((type, id))

    def __hash__(self):
        return self.hashed

    def __eq__(self, other):
        if type(other) is not EntityUid:
            return NotImplemented
        return same_uid(self, <EntityUid>other)

    def __repr__(self):
        return f'{self.type}::"{self.id}"'


cdef class Extension:
    """What decimal, ip address, datetime and duration have in common: they are values."""


cdef class _Key:
    """Stands for a boolean inside a hashed set, where Python would take `True` for `1`."""


cdef frozenset EMPTY_KEYS = frozenset()
cdef _Key TRUE_KEY = _Key()
cdef _Key FALSE_KEY = _Key()


cdef object key_of(object value):
    if value is True:
        return TRUE_KEY
    if value is False:
        return FALSE_KEY
    return value


cdef object value_of_key(object key):
    if key is TRUE_KEY:
        return True
    if key is FALSE_KEY:
        return False
    return key


@cython.final
cdef class SetValue:
    """A set: order and repetition do not count."""

    def __cinit__(self):
        self.keys = EMPTY_KEYS

    def __len__(self):
        return len(self.keys)

    def __iter__(self):
        return iter([value_of_key(key) for key in self.keys])

    def __hash__(self):
        cdef Py_hash_t mixed = SALT
        if self.hashed == 0:
            for key in self.keys:
                mixed ^= hash((SALT, hash(key)))
            self.hashed = mixed if mixed != 0 else 1
        return self.hashed

    def __eq__(self, other):
        if type(other) is not SetValue:
            return NotImplemented
        return self.keys == (<SetValue>other).keys


@cython.final
@cython.freelist(8)
cdef class Record:
    """A record. Made from a plain mapping, it converts each field when the field is read."""

    def __init__(self, dict fields not None):
        self.fields = fields
        self.plain = True

    cdef object get(self, str name):
        cdef PyObject* found = PyDict_GetItemWithError(self.fields, name)
        if found is NULL:
            return None
        return plain_value(<object>found) if self.plain else <object>found

    def __len__(self):
        return len(self.fields)

    def __hash__(self):
        cdef Py_hash_t mixed = SALT
        if self.hashed == 0:
            for name, value in self.fields.items():
                mixed ^= hash((SALT, name, hash(key_of(value))))
            self.hashed = mixed if mixed != 0 else 1
        return self.hashed

    def __eq__(self, other):
        if type(other) is not Record:
            return NotImplemented
        return same_fields(self.fields, (<Record>other).fields)


cdef bint same_fields(dict left, dict right) except -1:
    cdef PyObject* found
    if len(left) != len(right):
        return False
    for name, value in left.items():
        found = PyDict_GetItemWithError(right, name)
        if found is NULL or not same(value, <object>found):
            return False
    return True


cdef bint same(object left, object right) except -1:
    """Cedar's `==` on settled values."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    return left == right


cdef str kind_of(object value):
    """What an error message calls the type of a value."""
    if value is True or value is False:
        return "bool"
    if type(value) is int:
        return "long"
    if type(value) is str:
        return "string"
    if type(value) is EntityUid:
        return f"entity of type `{value.type}`"
    if type(value) is SetValue:
        return "set"
    if type(value) is Record:
        return "record"
    return type(value).__name__.lower()


cdef str shown(object json):
    """What a message shows of any input: short, however deep or long it is."""
    return reprlib.repr(json)


cdef Fault wrong_type(str expected, object found):
    return Fault(f"type error: expected {expected}, got {kind_of(found)}")


cdef object make_set(list values):
    """A set of settled values; a `Fault` among them is the answer."""
    cdef SetValue made = SetValue.__new__(SetValue)
    cdef list keys = []
    made.only_entities = True
    for value in values:
        if type(value) is Fault:
            return value
        if type(value) is not EntityUid:
            made.only_entities = False
        keys.append(key_of(value))
    made.keys = frozenset(keys)
    return made


cdef object settled(object value):
    """The value with every plain field in it converted, so that it can be compared; or the `Fault` found inside."""
    if type(value) is Record and (<Record>value).plain:
        return settled_json(value, 0)
    return value


cdef object plain_value(object json):
    """One plain JSON value as a Cedar value; records stay unconverted inside."""
    cdef Record record
    if json is True or json is False or type(json) is str or type(json) is Record:
        return json
    if type(json) is int:
        return json if is_long(json) else UNREPRESENTABLE
    if type(json) is dict:
        record = Record.__new__(Record)
        record.fields = json
        record.plain = True
        return record
    return settled_json(json, 0)


cdef object settled_json(object json, int depth):
    """Plain JSON converted whole."""
    cdef Record record
    cdef dict fields
    if json is True or json is False or type(json) is str or is_value(json):
        return json
    if type(json) is int:
        return json if is_long(json) else UNREPRESENTABLE
    if depth > MAX_VALUE_DEPTH:
        return Fault(f"expected values nested at most {MAX_VALUE_DEPTH} deep")
    if type(json) is list or type(json) is tuple:
        return make_set([settled_json(element, depth + 1) for element in json])
    if type(json) is dict or type(json) is Record:
        fields = {}
        for name, field in (json if type(json) is dict else (<Record>json).fields).items():
            value = settled_json(field, depth + 1)
            if type(value) is Fault:
                return value
            fields[name] = value
        record = Record.__new__(Record)
        record.fields = fields
        return record
    if isinstance(json, str):
        return PyUnicode_FromObject(json)
    return UNREPRESENTABLE


cdef bint is_value(object value):
    """Whether this already is a Cedar value that needs no conversion."""
    if type(value) is Record:
        return not (<Record>value).plain
    return type(value) is EntityUid or type(value) is SetValue or type(value) is Fault or isinstance(value, Extension)


cdef bint is_long(object number) except -1:
    """Whether an integer fits 64 bits; it is converted only to see."""
    cdef int overflow = 0
    PyLong_AsLongLongAndOverflow(number, &overflow)
    return overflow == 0
