# From Cedar's JSON policy format to programs.

from briefcase._native.programs cimport Node
from briefcase._native.values cimport EntityUid

cdef Node compile_expression(object expression, int depth)
cdef EntityUid scope_entity(dict constraint, dict slots)
cdef str too_deep()
cdef str text_of(object json)    # checked
