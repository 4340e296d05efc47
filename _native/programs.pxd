# A program is a tree of nodes; a node is an operation (a C function) and its operands.

from briefcase._native.entities cimport Entities, Entity
from briefcase._native.values cimport EntityUid, Record

cdef class Request:
    cdef EntityUid principal          # None while it is not known yet (specialising)
    cdef EntityUid action
    cdef EntityUid resource
    cdef Record context               # None while it is not known yet
    cdef Entities entities
    cdef frozenset principal_ancestors  # None: the principal is looked up in `entities`
    cdef object fault                 # what `truth` met when it answered FAULT
    cdef bint undetermined            # specialising: an entity was asked for that is not known yet
    cdef Entity find(self, EntityUid uid)

ctypedef object (*Operation)(Node node, Request request)

cdef enum Kind:
    LITERAL
    PRINCIPAL
    ACTION
    RESOURCE
    CONTEXT
    CONJUNCTION
    DISJUNCTION
    CHOICE
    STRICT                            # evaluates every operand, in order

cdef enum:
    NO = 0
    YES = 1
    FAULT = 2

cdef class Node:
    cdef Operation operation          # the value, or a `Fault`
    cdef Kind kind
    cdef bint gives_bool              # never another value than a bool (or a `Fault`)
    cdef Node first
    cdef Node second
    cdef Node third
    cdef tuple parts                  # operands of operations with any number of them
    cdef object operand               # what the operation needs to know: a name, a type, a literal

cdef int truth(Node node, Request request) except -1

cdef Node node_of(Kind kind, Operation operation, bint gives_bool)
cdef Node literal(object value)
cdef Node variable(str name)
cdef Node chain(Kind kind, list parts)
cdef Node choice(Node condition, Node then, Node otherwise)
cdef Node strict(str name, Node first, Node second, object operand)
cdef Node many(str name, list parts, object operand)
