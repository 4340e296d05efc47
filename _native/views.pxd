"""Views of a text: which reader, and what one step of it reads."""

ctypedef Py_ssize_t (*Reader)(
    const unsigned char* text, Py_ssize_t left, unsigned char* out, Py_ssize_t* written
) noexcept nogil
