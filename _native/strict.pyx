# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Strict JSON in one pass over the bytes: values are made as they are read, and the first fault ends it.

The grammar is RFC 8259's; what RFC 7493 adds, and the one reading of each number, are `briefcase.core.json.strict`'s.
A key that comes twice is found when it is put into its object, which then does not grow.
"""

from cpython.dict cimport PyDict_New, PyDict_SetItem, PyDict_Size
from cpython.list cimport PyList_Append
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport fabs, isinf
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from briefcase._native.canonical cimport MAX_SAFE, is_plain8
from briefcase._native.doubles cimport nearest

cdef extern from "Python.h":
    char* PyBytes_AS_STRING(object)
    Py_ssize_t PyBytes_GET_SIZE(object)
    object PyUnicode_New(Py_ssize_t size, uint32_t maxchar)
    void* PyUnicode_DATA(object)
    double PyOS_string_to_double(const char*, char**, PyObject*) except? -1.0
    int PyGC_Disable()
    int PyGC_Enable()

cdef enum:
    MAX_INTEGER_CHARS = 17   # -9007199254740991
    MAX_NUMBER_CHARS = 128
    MOST_DIGITS = 19         # of a decimal that is read at once: 10^19 is less than 2^64
    MOST_EXPONENT = 10000    # far beyond what a double has: what is larger is not told apart
    LARGE_BYTES = 65536
    NO_LONE = -1

cdef double EXPONENT_FORM_FROM = 1e21  # RFC 8785 (ECMAScript Number::toString) writes an exponent from here on


class NotStrictError(Exception):
    def __init__(self, problem, start, end, about):
        super().__init__(problem)
        self.problem = problem
        self.start = start
        self.end = end
        self.about = about


cpdef object read_strict(bytes data, int max_depth, Py_ssize_t max_values):
    """What is read holds no cycle: in a large text the collector would look at all of it, again and again."""
    if PyBytes_GET_SIZE(data) <= LARGE_BYTES or not PyGC_Disable():
        return _read_whole(data, max_depth, max_values)
    try:
        return _read_whole(data, max_depth, max_values)
    finally:
        PyGC_Enable()


cdef object _read_whole(bytes data, int max_depth, Py_ssize_t max_values):
    cdef Reader r
    cdef Py_ssize_t end
    r.data = <const unsigned char*>PyBytes_AS_STRING(data)
    r.at = 0
    r.size = PyBytes_GET_SIZE(data)
    r.depth = 0
    r.max_depth = max_depth
    r.values_left = max_values
    r.lone = NO_LONE
    _skip_space(&r)
    value = _read_value(&r)
    end = r.at
    _skip_space(&r)
    if r.at != r.size:
        raise NotStrictError("more", end, r.size, "")
    if r.lone != NO_LONE:
        raise NotStrictError("lone_surrogate", r.lone, r.lone + 6, "")
    return value


cdef inline void _skip_space(Reader* r) noexcept nogil:
    """RFC 8259 section 2."""
    cdef unsigned char byte
    while r.at < r.size:
        byte = r.data[r.at]
        if byte != c' ' and byte != c'\n' and byte != c'\r' and byte != c'\t':
            return
        r.at += 1


cdef inline unsigned char _peek(Reader* r) noexcept nogil:
    """The next byte, or NUL at the end: neither begins or goes on with anything."""
    return r.data[r.at] if r.at < r.size else 0


cdef int _expected(Reader* r, str what) except -1:
    raise NotStrictError("syntax", r.at, r.at, what)


cdef object _read_value(Reader* r):
    cdef unsigned char byte = _peek(r)
    r.values_left -= 1
    if r.values_left < 0:
        raise NotStrictError("values", r.at, r.at + 1, "")
    if byte == c'"':
        return _read_string(r)
    if byte == c'{':
        return _read_object(r)
    if byte == c'[':
        return _read_array(r)
    if byte == c'-' or c'0' <= byte <= c'9':
        return _read_number(r)
    if _is_word(r, "true", 4):
        return True
    if _is_word(r, "false", 5):
        return False
    if _is_word(r, "null", 4):
        return None
    _refuse_constant(r, r.at)
    _expected(r, "a value")


cdef inline bint _is_word(Reader* r, const char* word, Py_ssize_t size) noexcept nogil:
    if r.size - r.at < size or memcmp(r.data + r.at, word, size) != 0:
        return False
    r.at += size
    return True


cdef int _refuse_constant(Reader* r, Py_ssize_t start) except -1:
    """What other readers take for a number, and JSON has none of."""
    if _is_word(r, "NaN", 3) or _is_word(r, "Infinity", 8):
        raise NotStrictError("constant", start, r.at, "")
    return 0


cdef int _enter(Reader* r) except -1:
    if r.depth == r.max_depth:
        raise NotStrictError("depth", r.at, r.at + 1, "")
    r.depth += 1
    r.at += 1
    _skip_space(r)
    return 0


cdef object _read_array(Reader* r):
    cdef list items = []
    _enter(r)
    if _peek(r) == c']':
        r.at += 1
        r.depth -= 1
        return items
    while True:
        PyList_Append(items, _read_value(r))
        _skip_space(r)
        if _peek(r) == c']':
            r.at += 1
            r.depth -= 1
            return items
        if _peek(r) != c',':
            _expected(r, "`,` or `]`")
        r.at += 1
        _skip_space(r)


cdef object _read_object(Reader* r):
    cdef dict members = PyDict_New()
    cdef Py_ssize_t count = 0, start
    _enter(r)
    if _peek(r) == c'}':
        r.at += 1
        r.depth -= 1
        return members
    while True:
        if _peek(r) != c'"':
            _expected(r, "a key in double quotes")
        start = r.at
        key = _read_string(r)
        _skip_space(r)
        if _peek(r) != c':':
            _expected(r, "`:`")
        r.at += 1
        _skip_space(r)
        PyDict_SetItem(members, key, _read_value(r))
        count += 1
        if PyDict_Size(members) != count:
            raise NotStrictError("duplicate", start, r.at, key)
        _skip_space(r)
        if _peek(r) == c'}':
            r.at += 1
            r.depth -= 1
            return members
        if _peek(r) != c',':
            _expected(r, "`,` or `}`")
        r.at += 1
        _skip_space(r)


# --- strings ----------------------------------------------------------------------------------------------------------


cdef object _read_string(Reader* r):
    cdef Py_ssize_t start = r.at + 1, length
    cdef bint is_ascii = True, has_escapes = False
    cdef unsigned char byte
    r.at = start
    while True:
        while r.size - r.at >= 8 and is_plain8(r.data + r.at):
            r.at += 8
        if r.at >= r.size:
            r.at = start - 1
            _expected(r, "the end of the text that begins here")
        byte = r.data[r.at]
        if byte == c'"':
            break
        if byte == c'\\':
            has_escapes = True
            r.at += 1  # what it escapes is checked when it is read; a quote there is no end
            if r.at >= r.size:
                continue
            byte = r.data[r.at]
        if byte < 0x20:
            _expected(r, "text without control characters")
        if byte >= 0x80:
            is_ascii = False
        r.at += 1
    length = r.at - start
    r.at += 1
    if not is_ascii:
        text = _decoded(r, start, length)
        if not has_escapes:
            return text
    elif not has_escapes:
        text = PyUnicode_New(length, 127)
        memcpy(PyUnicode_DATA(text), r.data + start, length)
        return text
    return _unescaped(r, start, length)


cdef object _decoded(Reader* r, Py_ssize_t start, Py_ssize_t length):
    try:
        return PyUnicode_DecodeUTF8(<const char*>r.data + start, length, NULL)
    except UnicodeDecodeError:
        raise NotStrictError("encoding", start, start + length, "") from None


cdef object _unescaped(Reader* r, Py_ssize_t start, Py_ssize_t length):
    """The text between two quotes, its bytes known to be UTF-8. No escape is shorter than the UTF-8 it stands for."""
    cdef unsigned char* out = <unsigned char*>malloc(length)
    cdef Py_ssize_t size = 0, at = start, end = start + length
    if out == NULL:
        raise MemoryError
    try:
        while at < end:
            if r.data[at] != c'\\':
                out[size] = r.data[at]
                size += 1
                at += 1
                continue
            at = _read_escape(r, at, end, out, &size)
        if r.lone != NO_LONE:
            return PyUnicode_DecodeUTF8(<const char*>out, size, "surrogatepass")
        return PyUnicode_DecodeUTF8(<const char*>out, size, NULL)
    finally:
        free(out)


cdef Py_ssize_t _read_escape(Reader* r, Py_ssize_t at, Py_ssize_t end, unsigned char* out, Py_ssize_t* size) except -1:
    """Write what one escape stands for. Returns where the text goes on."""
    cdef unsigned char letter = r.data[at + 1]  # there is one: the closing quote is not escaped
    cdef int code, low
    if letter == c'u':
        code = _hex4(r, at + 2, end)
        if 0xD800 <= code < 0xDC00 and end - at >= 12 and r.data[at + 6] == c'\\' and r.data[at + 7] == c'u':
            low = _hex4(r, at + 8, end)
            if 0xDC00 <= low < 0xE000:
                _put_utf8(out, size, 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
                return at + 12
        if 0xD800 <= code < 0xE000 and r.lone == NO_LONE:
            r.lone = at
        _put_utf8(out, size, code)
        return at + 6
    code = _short_escape(letter)
    if code < 0:
        r.at = at
        _expected(r, "one of the escapes of JSON")
    _put_utf8(out, size, code)
    return at + 2


cdef int _short_escape(unsigned char letter) noexcept nogil:
    """RFC 8259 section 7: the character, or -1 where there is no such escape."""
    if letter == c'"' or letter == c'\\' or letter == c'/':
        return letter
    if letter == c'b':
        return 8
    if letter == c'f':
        return 12
    if letter == c'n':
        return 10
    if letter == c'r':
        return 13
    if letter == c't':
        return 9
    return -1


cdef int _hex4(Reader* r, Py_ssize_t at, Py_ssize_t end) except -1:
    cdef int code = 0, i
    cdef unsigned char digit
    for i in range(4):
        digit = r.data[at + i] if at + i < end else 0
        if c'0' <= digit <= c'9':
            code = code << 4 | (digit - 48)
        elif c'a' <= digit | 32 <= c'f':
            code = code << 4 | ((digit | 32) - 87)
        else:
            r.at = at + i
            _expected(r, "four hexadecimal digits")
    return code


cdef inline void _put_utf8(unsigned char* out, Py_ssize_t* size, uint32_t code) noexcept nogil:
    """A surrogate is written like any other code point; only `surrogatepass` reads it back."""
    cdef Py_ssize_t at = size[0]
    if code < 0x80:
        out[at] = <unsigned char>code
        size[0] = at + 1
    elif code < 0x800:
        out[at] = <unsigned char>(0xC0 | code >> 6)
        out[at + 1] = <unsigned char>(0x80 | code & 0x3F)
        size[0] = at + 2
    elif code < 0x10000:
        out[at] = <unsigned char>(0xE0 | code >> 12)
        out[at + 1] = <unsigned char>(0x80 | code >> 6 & 0x3F)
        out[at + 2] = <unsigned char>(0x80 | code & 0x3F)
        size[0] = at + 3
    else:
        out[at] = <unsigned char>(0xF0 | code >> 18)
        out[at + 1] = <unsigned char>(0x80 | code >> 12 & 0x3F)
        out[at + 2] = <unsigned char>(0x80 | code >> 6 & 0x3F)
        out[at + 3] = <unsigned char>(0x80 | code & 0x3F)
        size[0] = at + 4


# --- numbers ----------------------------------------------------------------------------------------------------------


cdef object _read_number(Reader* r):
    cdef Py_ssize_t start = r.at, digits
    cdef bint is_integer = True
    if r.data[r.at] == c'-':
        r.at += 1
        _refuse_constant(r, start)
    digits = r.at
    _skip_digits(r, "a digit")
    if r.data[digits] == c'0':
        r.at = digits + 1  # a leading zero stands alone: what follows it is no part of the number
    if _peek(r) == c'.':
        is_integer = False
        r.at += 1
        _skip_digits(r, "a digit after the point")
    if _peek(r) | 32 == c'e':
        is_integer = False
        r.at += 1
        if _peek(r) == c'+' or _peek(r) == c'-':
            r.at += 1
        _skip_digits(r, "a digit of the exponent")
    return _integer(r, start) if is_integer else _float(r, start)


cdef int _skip_digits(Reader* r, str what) except -1:
    if not c'0' <= _peek(r) <= c'9':
        _expected(r, what)
    while c'0' <= _peek(r) <= c'9':
        r.at += 1
    return 0


cdef object _integer(Reader* r, Py_ssize_t start):
    cdef Py_ssize_t at = start
    cdef long long number = 0
    if r.at - start > MAX_INTEGER_CHARS:
        raise NotStrictError("integer", start, r.at, "")
    if r.data[at] == c'-':
        at += 1
    while at < r.at:
        number = number * 10 + (r.data[at] - 48)
        at += 1
    if number > MAX_SAFE:
        raise NotStrictError("integer", start, r.at, "")
    return -number if r.data[start] == c'-' else number


cdef object _float(Reader* r, Py_ssize_t start):
    cdef char text[MAX_NUMBER_CHARS + 1]
    cdef Py_ssize_t size = r.at - start
    cdef double value, magnitude
    if size > MAX_NUMBER_CHARS:
        raise NotStrictError("long_number", start, r.at, "")
    memcpy(text, r.data + start, size)
    text[size] = 0
    if not _read_nearest(text, &value):
        value = PyOS_string_to_double(text, NULL, NULL)
    magnitude = fabs(value)
    if isinf(magnitude):
        raise NotStrictError("range", start, r.at, "")
    if magnitude >= EXPONENT_FORM_FROM:
        return value
    if magnitude > <double>MAX_SAFE:
        raise NotStrictError("integral", start, r.at, "")
    if magnitude == 0 and not _is_zero(text):
        raise NotStrictError("underflow", start, r.at, "")
    if magnitude == <double><long long>magnitude:
        return <long long>value
    return value


cdef bint _read_nearest(const char* text, double* value) noexcept nogil:
    """The double nearest to a number as JSON writes it, and whether that is certain."""
    cdef uint64_t digits = 0
    cdef int count = 0, power = 0, exponent = 0
    cdef bint is_negative = text[0] == c'-', is_fraction = False, is_cut = False, is_small
    if is_negative:
        text += 1
    while c'0' <= text[0] <= c'9' or text[0] == c'.':
        if text[0] == c'.':
            is_fraction = True
        elif count < MOST_DIGITS:
            digits = digits * 10 + <uint64_t>(text[0] - 48)
            count += digits != 0
            power -= is_fraction
        else:
            is_cut = is_cut or text[0] != c'0'
            power += not is_fraction
        text += 1
    if text[0] | 32 == c'e':
        is_small = text[1] == c'-'
        text += 1 + (text[1] == c'-' or text[1] == c'+')
        while c'0' <= text[0] <= c'9':
            if exponent < MOST_EXPONENT:
                exponent = exponent * 10 + (text[0] - 48)
            text += 1
        power += -exponent if is_small else exponent
    if not nearest(digits, is_cut, power, value):
        return False
    if is_negative:
        value[0] = -value[0]
    return True


cdef bint _is_zero(const char* text) noexcept nogil:
    """Whether a number is written with no digit but 0 before its exponent."""
    while text[0] != 0 and text[0] | 32 != c'e':
        if c'1' <= text[0] <= c'9':
            return False
        text += 1
    return True
