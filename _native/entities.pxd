# Entities and the store they are found in; ancestors are closed transitively when the store is made.

from briefcase._native.values cimport EntityUid, Record

cdef class Entity:
    cdef readonly EntityUid uid
    cdef readonly frozenset ancestors   # of EntityUid, all of them, without itself unless the data says so
    cdef Record attrs
    cdef dict tags

cdef class Entities:
    cdef dict by_uid
    cdef inline Entity find(self, EntityUid uid):
        return self.by_uid.get(uid)

cdef frozenset NOBODY
cdef Record EMPTY
cdef Entities NO_ENTITIES
cdef object cedar_value(object json, int depth)
cdef EntityUid uid_of(object json)
