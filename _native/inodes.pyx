# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Files as they were when a program opened them, and the question whether they still are: one lstat(2) each.

A process goes on reading and writing a file that was removed, renamed or replaced, without a word. Only the path tells:
what is there must be the same device and inode, a file must have one name (a second one is a door for a second writer),
and a file that only ever grows must not have shrunk (reading a map beyond the end of its file kills the process).

A look costs a system call, about 0.7 us, so `glance` looks at the first few, and at one of the others in turn.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.errno cimport errno
from posix.stat cimport S_ISREG, lstat, struct_stat

import os


cdef class Inodes:
    def __cinit__(self):
        self.paths, self.labels = [], []
        self.seen = NULL
        self.count = self.first = self.turn = 0

    def __dealloc__(self):
        PyMem_Free(self.seen)

    cpdef object watch(self, bytes path, str label, bint grows=False, bint first=False):
        cdef struct_stat found
        cdef Seen* room
        cdef Seen* seen
        if lstat(PyBytes_AS_STRING(path), &found) != 0:
            code = errno
            raise OSError(code, os.strerror(code), path)
        room = <Seen*> PyMem_Realloc(self.seen, (self.count + 1) * sizeof(Seen))
        if room is NULL:
            raise MemoryError
        self.seen = room
        seen = &self.seen[self.count]
        seen.device, seen.inode = found.st_dev, found.st_ino
        seen.least_bytes = found.st_size if grows else -1
        seen.has_one_name = S_ISREG(found.st_mode)
        self.paths.append(path)
        self.labels.append(label)
        self.count += 1
        if first:
            self.first = self.count

    cpdef object problem(self):
        cdef Py_ssize_t at
        for at in range(self.count):
            found = self._problem_of(at)
            if found is not None:
                return found
        return None

    cpdef object glance(self):
        cdef Py_ssize_t at
        for at in range(self.first):
            found = self._problem_of(at)
            if found is not None:
                return found
        if self.first == self.count:
            return None
        at = self.first + self.turn % (self.count - self.first)
        self.turn = at - self.first + 1
        return self._problem_of(at)

    cdef object _problem_of(self, Py_ssize_t at):
        cdef struct_stat found
        cdef Seen* seen = &self.seen[at]
        if lstat(PyBytes_AS_STRING(<bytes> self.paths[at]), &found) != 0:
            code = errno
            return f"`{self.labels[at]}` cannot be found: {os.strerror(code).lower()}"
        if found.st_dev != seen.device or found.st_ino != seen.inode:
            return f"`{self.labels[at]}` was replaced by another file"
        if seen.has_one_name and found.st_nlink != 1:
            return f"`{self.labels[at]}` has {found.st_nlink} names (hard links), expected 1"
        if seen.least_bytes >= 0:
            if found.st_size < seen.least_bytes:
                return f"`{self.labels[at]}` was cut from {seen.least_bytes} bytes to {found.st_size}"
            seen.least_bytes = found.st_size
        return None
