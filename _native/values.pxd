# Values of the Cedar language. A bool, long or string is the Python object itself (`True`, `int`, `str`, exact types);
# everything else is one of these. A value that went wrong is a `Fault`, and using it is an error.

cdef class Fault:
    cdef readonly str problem

cdef class Extension:
    pass

cdef class EntityUid:
    cdef readonly str type
    cdef readonly str id
    cdef Py_hash_t hashed

cdef class SetValue:
    cdef readonly frozenset keys      # `key_of` each member
    cdef readonly bint only_entities
    cdef Py_hash_t hashed             # 0 until asked for

cdef class Record:
    cdef dict fields
    cdef bint plain                   # fields hold JSON values, converted when they are read
    cdef Py_hash_t hashed
    cdef object get(self, str name)   # value, `Fault`, or None where the record has no such attribute

cdef Fault UNREPRESENTABLE

cdef inline bint same_uid(EntityUid left, EntityUid right):
    return left is right or (
        left.hashed == right.hashed and left.id == right.id and left.type == right.type
    )

cdef bint is_long(object number) except -1    # whether a Python integer fits 64 bits
cdef str kind_of(object value)
cdef str shown(object json)
cdef Fault wrong_type(str expected, object found)
cdef object key_of(object value)
cdef bint same(object left, object right) except -1
cdef object settled(object value)
cdef object make_set(list values)
cdef object plain_value(object json)
