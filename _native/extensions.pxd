# The four extension types, and the one table of their functions.

from briefcase._native.values cimport Extension

cdef class Decimal(Extension):
    cdef long long scaled             # ten-thousandths

cdef class Datetime(Extension):
    cdef long long epoch_ms

cdef class Duration(Extension):
    cdef long long length_ms

cdef class Ipaddr(Extension):
    cdef unsigned char octets[16]     # an IPv4 address uses the first four
    cdef bint is_v6
    cdef int prefix

ctypedef object (*ExtensionCall)(tuple arguments)

cdef class ExtensionFunction:
    cdef readonly str name
    cdef ExtensionCall call
    cdef tuple parameters
    cdef int arity
    cdef bint gives_bool
    cdef object apply(self, tuple arguments)   # a value or a `Fault`; arguments are values, none a `Fault`

cdef ExtensionFunction extension_named(str name)
cdef object moment_order(object left, object right)
