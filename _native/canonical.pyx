# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Canonical bytes of JSON values (RFC 8785).

Writing runs no Python code between the first byte and the last, so borrowed references hold throughout: dictionaries
are walked, sorted and written in C. What is refused is named with its path, found while unwinding.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.math cimport isfinite
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy

from briefcase._native.doubles cimport shortest

cdef extern from "Python.h":
    bint PyUnicode_Check(PyObject*)
    bint PyBool_Check(PyObject*)
    bint PyLong_Check(PyObject*)
    bint PyFloat_Check(PyObject*)
    bint PyList_Check(PyObject*)
    bint PyDict_Check(PyObject*)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject*) nogil
    bint PyUnicode_IS_ASCII(PyObject*)
    int PyUnicode_KIND(PyObject*) nogil
    void* PyUnicode_DATA(PyObject*) nogil
    uint32_t PyUnicode_READ(int, void*, Py_ssize_t) nogil
    long long PyLong_AsLongLongAndOverflow(PyObject*, int*)
    double PyFloat_AS_DOUBLE(PyObject*)
    Py_ssize_t PyList_GET_SIZE(PyObject*)
    PyObject* PyList_GET_ITEM(PyObject*, Py_ssize_t)
    Py_ssize_t PyDict_Size(PyObject*)
    int PyDict_Next(PyObject*, Py_ssize_t*, PyObject**, PyObject**)
    PyObject* _none "Py_None"
    PyObject* _true "Py_True"

cdef enum:
    INITIAL_BYTES = 1024
    INITIAL_MEMBERS = 64
    INSERTION_SORT_UP_TO = 32
    MAX_ESCAPED = 6          # the longest form of one code point: \u001f
    MAX_NUMBER = 32          # the longest number: 17 digits, sign, point, exponent, or 21 digits
    MAX_SHOWN = 64


cpdef bytes canonical(object value):
    return _canonical(value, True)


cpdef bytes canonical_event(object event):
    if not isinstance(event, dict):
        raise TypeError(f"expected an event as a dict, got {type(event).__name__}")
    return _canonical(event, False)


cdef bytes _canonical(object value, bint floats):
    cdef Writer w
    w.data = <unsigned char*>malloc(INITIAL_BYTES)
    w.size = 0
    w.capacity = INITIAL_BYTES
    w.members = NULL
    w.member_count = w.member_capacity = 0
    w.floats = floats
    w.depth = 0
    w.problem = FINE
    w.path_size = 0
    try:
        if w.data == NULL:
            raise MemoryError
        if _write(&w, <PyObject*>value) < 0:
            _refuse(&w)
        return PyBytes_FromStringAndSize(<char*>w.data, w.size)
    finally:
        free(w.data)
        free(w.members)


cdef int _write(Writer* w, PyObject* value) noexcept:
    if PyUnicode_Check(value):
        return _write_string(w, value)
    if PyDict_Check(value):
        return _write_object(w, value)
    if value == _none:
        return _write_word(w, "null", 4)
    if PyBool_Check(value):
        return _write_word(w, "true", 4) if value == _true else _write_word(w, "false", 5)
    if PyLong_Check(value):
        return _write_integer(w, value)
    if PyList_Check(value):
        return _write_list(w, value)
    if PyFloat_Check(value):
        return _write_float(w, value)
    return _fail(w, BAD_TYPE, value)


cdef inline int _fail(Writer* w, Problem problem, PyObject* culprit) noexcept:
    w.problem = problem
    w.culprit = culprit
    return -1


cdef inline int _reserve(Writer* w, Py_ssize_t more) noexcept:
    cdef Py_ssize_t wanted = w.size + more
    cdef unsigned char* moved
    if wanted <= w.capacity:
        return 0
    wanted += wanted // 2
    moved = <unsigned char*>realloc(w.data, wanted)
    if moved == NULL:
        return _fail(w, NO_MEMORY, NULL)
    w.data = moved
    w.capacity = wanted
    return 0


cdef inline int _write_word(Writer* w, const char* word, Py_ssize_t size) noexcept:
    if _reserve(w, size) < 0:
        return -1
    memcpy(w.data + w.size, word, size)
    w.size += size
    return 0


cdef int _write_integer(Writer* w, PyObject* value) noexcept:
    cdef int overflow = 0
    cdef long long number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or number > MAX_SAFE or number < -MAX_SAFE:
        return _fail(w, BAD_INTEGER, value)
    return _write_decimal(w, number)


cdef int _write_decimal(Writer* w, long long number) noexcept:
    cdef unsigned char digits[MAX_NUMBER]
    cdef int at = MAX_NUMBER
    cdef uint64_t rest = <uint64_t>(-number if number < 0 else number)
    while True:
        at -= 1
        digits[at] = <unsigned char>(48 + rest % 10)
        rest //= 10
        if rest == 0:
            break
    if number < 0:
        at -= 1
        digits[at] = 45  # -
    return _write_word(w, <char*>&digits[at], MAX_NUMBER - at)


cdef int _write_float(Writer* w, PyObject* value) noexcept:
    """RFC 8785 section 3.2.2.3: ECMAScript's Number::toString, from the shortest digits that read back the same."""
    cdef double number = PyFloat_AS_DOUBLE(value)
    cdef unsigned char text[MAX_NUMBER]
    cdef int at = MAX_NUMBER, exponent = 0
    cdef uint64_t rest = 0
    if not w.floats:
        return _fail(w, FLOAT_IN_EVENT, value)
    if not isfinite(number):
        return _fail(w, BAD_FLOAT, value)
    if number == 0:
        return _write_word(w, "0", 1)  # -0 too
    if number < 0:
        number = -number
        if _write_word(w, "-", 1) < 0:
            return -1
    shortest(number, &rest, &exponent)
    while rest % 10 == 0:
        rest //= 10
        exponent += 1
    while rest:
        at -= 1
        text[at] = <unsigned char>(48 + rest % 10)
        rest //= 10
    return _write_digits(w, &text[at], MAX_NUMBER - at, MAX_NUMBER - at + exponent)


cdef int _write_digits(Writer* w, const unsigned char* digits, int k, int n) noexcept:
    """ECMAScript's form of `k` digits with the point after the first `n`."""
    cdef int i
    if _reserve(w, MAX_NUMBER) < 0:
        return -1
    if 0 < n <= 21:
        for i in range(k if k > n else n):
            if i == n:
                _put(w, c'.')
            _put(w, digits[i] if i < k else <unsigned char>c'0')
        return 0
    if -6 < n <= 0:
        _put(w, c'0')
        _put(w, c'.')
        for i in range(-n):
            _put(w, c'0')
        for i in range(k):
            _put(w, digits[i])
        return 0
    for i in range(k):
        if i == 1:
            _put(w, c'.')
        _put(w, digits[i])
    _put(w, c'e')
    n -= 1
    if n > 0:
        _put(w, c'+')
    return _write_decimal(w, n)


cdef inline void _put(Writer* w, unsigned char byte) noexcept nogil:
    w.data[w.size] = byte
    w.size += 1


cdef int _write_string(Writer* w, PyObject* text) noexcept:
    """RFC 8785 section 3.2.2.2: short escapes where there are, `\\u00xx` for other controls, all else as UTF-8."""
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(text), i = 0
    cdef int kind = PyUnicode_KIND(text)
    cdef void* data = PyUnicode_DATA(text)
    cdef const unsigned char* ascii = <const unsigned char*>data
    cdef unsigned char* out
    cdef uint32_t code
    if _reserve(w, length * MAX_ESCAPED + 2) < 0:
        return -1
    _put(w, c'"')
    if PyUnicode_IS_ASCII(text):
        out = w.data + w.size
        while i < length:
            if length - i >= 8 and is_plain8(ascii + i):
                memcpy(out, ascii + i, 8)
                out += 8
                i += 8
                continue
            code = ascii[i]
            if code < 0x20 or code == c'"' or code == c'\\':
                w.size = out - w.data
                _put_escaped(w, code)
                out = w.data + w.size
            else:
                out[0] = <unsigned char>code
                out += 1
            i += 1
        w.size = out - w.data
    else:
        for i in range(length):
            code = PyUnicode_READ(kind, data, i)
            if code < 0x20 or code == c'"' or code == c'\\':
                _put_escaped(w, code)
            elif 0xD800 <= code <= 0xDFFF:
                return _fail(w, LONE_SURROGATE, text)
            else:
                _put_utf8(w, code)
    _put(w, c'"')
    return 0


cdef void _put_escaped(Writer* w, uint32_t code) noexcept nogil:
    cdef unsigned char short_form = short_escape(code)
    _put(w, c'\\')
    if short_form:
        _put(w, short_form)
        return
    _put(w, c'u')
    _put(w, c'0')
    _put(w, c'0')
    _put(w, c'0' if code < 16 else c'1')
    code &= 15
    _put(w, <unsigned char>(48 + code if code < 10 else 87 + code))


cdef inline void _put_utf8(Writer* w, uint32_t code) noexcept nogil:
    if code < 0x80:
        _put(w, <unsigned char>code)
        return
    if code < 0x800:
        _put(w, <unsigned char>(0xC0 | code >> 6))
    else:
        if code < 0x10000:
            _put(w, <unsigned char>(0xE0 | code >> 12))
        else:
            _put(w, <unsigned char>(0xF0 | code >> 18))
            _put(w, <unsigned char>(0x80 | code >> 12 & 0x3F))
        _put(w, <unsigned char>(0x80 | code >> 6 & 0x3F))
    _put(w, <unsigned char>(0x80 | code & 0x3F))


cdef int _write_list(Writer* w, PyObject* value) noexcept:
    cdef Py_ssize_t i
    if w.depth == MAX_DEPTH:
        return _fail(w, TOO_DEEP, NULL)
    w.depth += 1
    if _write_word(w, "[", 1) < 0:
        return -1
    for i in range(PyList_GET_SIZE(value)):
        if i and _write_word(w, ",", 1) < 0:
            return -1
        if _write(w, PyList_GET_ITEM(value, i)) < 0:
            return _leave(w, NULL, i)
    w.depth -= 1
    return _write_word(w, "]", 1)


cdef int _write_object(Writer* w, PyObject* value) noexcept:
    """RFC 8785 section 3.2.3: members sorted by their keys' UTF-16 code units."""
    cdef Py_ssize_t first = w.member_count, count = PyDict_Size(value), position = 0, i
    cdef PyObject* key
    cdef PyObject* item
    cdef Member* member
    if w.depth == MAX_DEPTH:
        return _fail(w, TOO_DEEP, NULL)
    if _reserve_members(w, count) < 0:
        return -1
    while PyDict_Next(value, &position, &key, &item):
        if not PyUnicode_Check(key):
            return _fail(w, BAD_KEY, key)
        member = &w.members[w.member_count]
        member.prefix = _key_prefix(key)
        member.key = key
        member.value = item
        w.member_count += 1
    _sort_members(w.members + first, count)
    w.depth += 1
    if _write_word(w, "{", 1) < 0:
        return -1
    for i in range(first, first + count):
        if i > first and _write_word(w, ",", 1) < 0:
            return -1
        if _write_string(w, w.members[i].key) < 0 or _write_word(w, ":", 1) < 0:
            return _leave(w, w.members[i].key, 0)
        if _write(w, w.members[i].value) < 0:
            return _leave(w, w.members[i].key, 0)
    w.member_count = first
    w.depth -= 1
    return _write_word(w, "}", 1)


cdef inline int _leave(Writer* w, PyObject* key, Py_ssize_t index) noexcept:
    w.path[w.path_size].key = key
    w.path[w.path_size].index = index
    w.path_size += 1
    return -1


cdef inline int _reserve_members(Writer* w, Py_ssize_t more) noexcept:
    cdef Py_ssize_t wanted = w.member_count + more
    cdef Member* moved
    if wanted <= w.member_capacity:
        return 0
    wanted += wanted // 2 + INITIAL_MEMBERS
    moved = <Member*>realloc(w.members, wanted * sizeof(Member))
    if moved == NULL:
        return _fail(w, NO_MEMORY, NULL)
    w.members = moved
    w.member_capacity = wanted
    return 0


cdef uint64_t _key_prefix(PyObject* key) noexcept:
    cdef uint64_t prefix = 0
    cdef Py_ssize_t length = PyUnicode_GET_LENGTH(key), i = 0
    cdef int kind = PyUnicode_KIND(key), units = 0
    cdef void* data = PyUnicode_DATA(key)
    cdef uint32_t code
    while i < length and units < 4:
        code = PyUnicode_READ(kind, data, i)
        if code >= 0x10000:
            prefix = prefix << 16 | _high_surrogate(code)
            units += 1
            if units == 4:
                break
            code = 0xDC00 | code & 0x3FF
        prefix = prefix << 16 | code
        units += 1
        i += 1
    return prefix << 16 * (4 - units) if units else 0


cdef inline uint32_t _high_surrogate(uint32_t code) noexcept nogil:
    return 0xD7C0 + (code >> 10)


cdef void _sort_members(Member* members, Py_ssize_t count) noexcept:
    cdef Py_ssize_t i, j
    cdef Member moving
    if count > INSERTION_SORT_UP_TO:
        qsort(members, count, sizeof(Member), _compare_members)
        return
    for i in range(1, count):
        moving = members[i]
        j = i
        while j > 0 and _compare_members(&members[j - 1], &moving) > 0:
            members[j] = members[j - 1]
            j -= 1
        members[j] = moving


cdef int _compare_members(const void* left, const void* right) noexcept nogil:
    cdef const Member* a = <const Member*>left
    cdef const Member* b = <const Member*>right
    if a.prefix != b.prefix:
        return -1 if a.prefix < b.prefix else 1
    return _compare_keys(<PyObject*>a.key, <PyObject*>b.key)


cdef int _compare_keys(PyObject* a, PyObject* b) noexcept nogil:
    cdef Py_ssize_t a_length = PyUnicode_GET_LENGTH(a), b_length = PyUnicode_GET_LENGTH(b), i
    cdef int a_kind = PyUnicode_KIND(a), b_kind = PyUnicode_KIND(b)
    cdef void* a_data = PyUnicode_DATA(a)
    cdef void* b_data = PyUnicode_DATA(b)
    cdef uint32_t a_code, b_code
    for i in range(a_length if a_length < b_length else b_length):
        a_code = PyUnicode_READ(a_kind, a_data, i)
        b_code = PyUnicode_READ(b_kind, b_data, i)
        if a_code != b_code:
            return compare_codes(a_code, b_code)
    return (a_length > b_length) - (a_length < b_length)


cdef int _refuse(Writer* w) except -1:
    """Raise what was found, with the path to it."""
    cdef Step step
    cdef object path = "$"
    while w.path_size:
        w.path_size -= 1
        step = w.path[w.path_size]
        path += f"[{step.index}]" if step.key == NULL else f".{_shown(<object>step.key)}"
    if w.problem == NO_MEMORY:
        raise MemoryError
    if w.problem == TOO_DEEP:
        raise ValueError(f"expected at most {MAX_DEPTH} nested lists and objects, got more")
    culprit = <object>w.culprit
    if w.problem == BAD_TYPE:
        raise TypeError(f"expected a JSON value at `{path}`, got {type(culprit).__name__}")
    if w.problem == BAD_KEY:
        raise TypeError(f"expected only string keys at `{path}`, got {type(culprit).__name__}")
    if w.problem == BAD_INTEGER:
        raise ValueError(f"expected an integer within ±(2^53-1) at `{path}`, got one of {culprit.bit_length()} bits")
    if w.problem == BAD_FLOAT:
        raise ValueError(f"expected a finite number at `{path}`, got `{culprit!r}`")
    if w.problem == FLOAT_IN_EVENT:
        raise TypeError(f"expected no float in an event, got `{culprit!r}` at `{path}`")
    raise ValueError(f"expected text without lone surrogates at `{path}`, got `{_shown(culprit)}`")


cdef str _shown(str text):
    shown = ascii(text[:MAX_SHOWN])
    return shown[1:len(shown) - 1]
