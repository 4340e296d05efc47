"""The map of `strict`: what reading keeps between steps."""

cdef struct Reader:
    const unsigned char* data
    Py_ssize_t at            # the next byte
    Py_ssize_t size
    int depth
    int max_depth
    Py_ssize_t values_left
    Py_ssize_t lone          # where the first escape of a lone surrogate begins, or -1

cpdef object read_strict(bytes data, int max_depth, Py_ssize_t max_values)
