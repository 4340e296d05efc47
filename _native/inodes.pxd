"""The map of `inodes`: files as they were when a program opened them, and the question whether they still are."""

from posix.types cimport dev_t, ino_t, nlink_t, off_t

cdef struct Seen:
    dev_t device
    ino_t inode
    off_t least_bytes        # -1 where the size tells nothing
    int has_one_name         # a directory's link count follows its subdirectories

cdef class Inodes:
    cdef list paths          # bytes, in the order of `seen`
    cdef list labels
    cdef Seen* seen
    cdef Py_ssize_t count
    cdef Py_ssize_t first    # so many are looked at by every glance
    cdef Py_ssize_t turn     # which of the others is next

    cpdef object watch(self, bytes path, str label, bint grows=*, bint first=*)
    cpdef object problem(self)
    cpdef object glance(self)
    cdef object _problem_of(self, Py_ssize_t at)
