"""The map of `claims`: request ids that were taken, as fingerprints in two generations of one fixed size."""

from libc.stdint cimport uint32_t, uint64_t

cdef struct Generation:
    uint64_t* fingerprints   # 0 where a slot is empty
    uint32_t* offsets        # receipt id less `base_id`
    uint64_t slots           # a power of two
    uint64_t count
    uint64_t base_id

cdef class ClaimIndex:
    cdef Generation current
    cdef Generation previous
    cdef readonly uint64_t max_slots

    cdef int _add(self, uint64_t fingerprint, uint64_t receipt_id) except -1
    cdef int _make_room(self, uint64_t receipt_id) except -1
    cpdef object get(self, bytes fingerprint)
    cpdef int add(self, bytes fingerprint, uint64_t receipt_id) except -1
    cpdef int add_packed(self, bytes packed) except -1
