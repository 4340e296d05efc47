# Programs evaluated ahead as far as a request is known.

from briefcase._native.programs cimport Node, Request

cdef Node folded(Node node, Request known)
