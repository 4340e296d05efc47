"""The map of `chain`: what canonicalising and checking keep between steps, and what other native modules may call."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

cdef enum:
    MAX_DEPTH = 128          # nested lists and objects: arguments (64) inside whatever wraps them
    HEX_SIZE = 64            # a SHA-256 in hexadecimal
    TS_SIZE = 27             # a time as `types.format_rfc3339` writes it

cdef enum Problem:
    FINE = 0
    BAD_TYPE                 # a value outside the JSON domain, or a key that is no string
    BAD_KEY
    BAD_INTEGER              # beyond ±(2^53-1)
    BAD_FLOAT                # NaN or infinite
    FLOAT_IN_EVENT           # any float, where events are written
    LONE_SURROGATE
    TOO_DEEP
    NO_MEMORY

cdef struct Member:          # one member of the object being written
    uint64_t prefix          # its key's first four UTF-16 code units: most comparisons end here
    PyObject* key            # borrowed, like `value`: nothing here runs Python code before the last byte is written
    PyObject* value

cdef struct Step:            # one step of the path to what was refused, noted while leaving
    PyObject* key            # NULL in a list
    Py_ssize_t index

cdef struct Writer:
    unsigned char* data
    Py_ssize_t size
    Py_ssize_t capacity
    Member* members          # a stack: each object being written owns a stretch of it
    Py_ssize_t member_count
    Py_ssize_t member_capacity
    bint floats
    int depth
    Problem problem
    PyObject* culprit
    Step path[MAX_DEPTH]
    int path_size

cdef struct Link:            # what the next record must be
    uint64_t id
    unsigned char prev_hash_hex[HEX_SIZE]
    unsigned char ts[TS_SIZE]                # its time may not be before this

cdef struct Scanner:         # a walk over bytes that claim to be a canonical event
    const unsigned char* data
    Py_ssize_t size
    Py_ssize_t at
    Py_ssize_t id_start      # where the top-level `id` and `ts` lie; -1 where they were not met
    Py_ssize_t id_end
    Py_ssize_t ts_start
    Py_ssize_t ts_end

cpdef bytes canonical(object value)
cpdef bytes canonical_event(object event)
cpdef str chain_hash(str prev_hash_hex, bytes canonical)
cpdef bint is_canonical_event(bytes data)
cpdef tuple verify_records(list records, uint64_t first_id, bytes prev_hash_hex, bytes prev_ts)
