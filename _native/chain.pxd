"""The map of `chain`: what verification keeps between steps, and what other native modules may call."""

from libc.stdint cimport uint64_t

cdef enum:
    HEX_SIZE = 64            # a SHA-256 in hexadecimal
    TS_SIZE = 27             # a time as `types.format_rfc3339` writes it

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

cpdef str chain_hash(str prev_hash_hex, bytes canonical)
cpdef bint is_canonical_event(bytes data)
cpdef tuple verify_records(list records, uint64_t first_id, bytes prev_hash_hex, bytes prev_ts)
