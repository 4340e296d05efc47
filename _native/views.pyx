# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""What a text says when its escapes are read: one pass for each view, none longer than its text."""

from array import array
from html.entities import html5

from cpython cimport array as c_array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

cdef enum:
    MAX_ENTITY = 16  # of the names of ASCII characters the longest has 16 letters
    MAX_CODE = 0x10FFFF
    ENTITY_SLOTS = 1024
    ESCAPE = 1
    QUOTED = 2
    FOLD = 4

cdef struct Entity:
    Py_ssize_t length  # 0 where the slot is free
    unsigned char name[MAX_ENTITY]
    unsigned char code

cdef Entity ENTITIES[ENTITY_SLOTS]
cdef unsigned char BEGINS[256]  # which readers may read something that begins with a byte: `ESCAPE`, `QUOTED`, `FOLD`
cdef c_array.array MAP = array("Q")


cdef inline Py_ssize_t entity_slot(const unsigned char* name, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t slot = (length * 31 + name[0] * 7 + name[length - 1] * 13) & (ENTITY_SLOTS - 1)
    while ENTITIES[slot].length and (ENTITIES[slot].length != length or memcmp(ENTITIES[slot].name, name, length)):
        slot = (slot + 1) & (ENTITY_SLOTS - 1)
    return slot


cdef void fill_tables():
    cdef bytes name
    cdef Py_ssize_t slot
    for key, value in html5.items():
        if key.endswith(";") and len(value) == 1 and ord(value) < 0x80:
            name = key.removesuffix(";").encode()
            slot = entity_slot(<const unsigned char*>PyBytes_AS_STRING(name), len(name))
            ENTITIES[slot].length = len(name)
            memcpy(ENTITIES[slot].name, PyBytes_AS_STRING(name), len(name))
            ENTITIES[slot].code = ord(value)
    BEGINS[c'\\'] = BEGINS[c'%'] = BEGINS[c'&'] = ESCAPE
    BEGINS[c'='] = QUOTED
    BEGINS[0] = BEGINS[10] = BEGINS[13] = FOLD


fill_tables()


# --- steps: what one reader takes at a place; 0 where nothing is to be read there ---------------------------------------


cdef inline int hex_of(unsigned char c) noexcept nogil:
    if c'0' <= c <= c'9':
        return c - c'0'
    c |= 0x20
    return c - c'a' + 10 if c'a' <= c <= c'f' else -1


cdef inline Py_ssize_t read_hex(
    const unsigned char* text, Py_ssize_t left, Py_ssize_t most, uint32_t* code
) noexcept nogil:
    """How many hexadecimal digits are there, `most` at most, and their value."""
    cdef Py_ssize_t n = 0
    cdef int digit
    code[0] = 0
    while n < most and n < left:
        digit = hex_of(text[n])
        if digit < 0:
            break
        code[0] = code[0] << 4 | <uint32_t>digit
        n += 1
    return n


cdef inline Py_ssize_t write_code(uint32_t code, unsigned char* out) noexcept nogil:
    """A code point as UTF-8, a lone surrogate as its three bytes."""
    if code < 0x80:
        out[0] = code
        return 1
    if code < 0x800:
        out[0] = 0xC0 | code >> 6
        out[1] = 0x80 | code & 0x3F
        return 2
    if code < 0x10000:
        out[0] = 0xE0 | code >> 12
        out[1] = 0x80 | code >> 6 & 0x3F
        out[2] = 0x80 | code & 0x3F
        return 3
    out[0] = 0xF0 | code >> 18
    out[1] = 0x80 | code >> 12 & 0x3F
    out[2] = 0x80 | code >> 6 & 0x3F
    out[3] = 0x80 | code & 0x3F
    return 4


cdef Py_ssize_t step_backslash(const unsigned char* text, Py_ssize_t left, unsigned char* out, Py_ssize_t* written) noexcept nogil:
    cdef uint32_t code, low
    cdef Py_ssize_t n
    cdef unsigned char c
    if left < 2:
        return 0
    c = text[1]
    if c == c'u':
        if left > 2 and text[2] == c'{':
            n = read_hex(text + 3, left - 3, 6, &code)
            if n and 3 + n < left and text[3 + n] == c'}' and code <= MAX_CODE:
                written[0] = write_code(code, out)
                return n + 4
            return 0
        if read_hex(text + 2, left - 2, 4, &code) < 4:
            return 0
        if 0xD800 <= code < 0xDC00 and left >= 12 and text[6] == c'\\' and text[7] == c'u':
            if read_hex(text + 8, left - 8, 4, &low) == 4 and 0xDC00 <= low < 0xE000:
                written[0] = write_code(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), out)
                return 12
        written[0] = write_code(code, out)
        return 6
    if c == c'U':
        if read_hex(text + 2, left - 2, 8, &code) < 8 or code > MAX_CODE:
            return 0
        written[0] = write_code(code, out)
        return 10
    if c == c'x':
        if read_hex(text + 2, left - 2, 2, &code) < 2:
            return 0
        out[0] = code
        written[0] = 1
        return 4
    if c'0' <= c <= c'3' and left >= 4 and c'0' <= text[2] <= c'7' and c'0' <= text[3] <= c'7':
        out[0] = (c - c'0') << 6 | (text[2] - c'0') << 3 | (text[3] - c'0')
        written[0] = 1
        return 4
    written[0] = 1
    if c == c'n':
        out[0] = 10
    elif c == c'r':
        out[0] = 13
    elif c == c't':
        out[0] = 9
    elif c == c'b':
        out[0] = 8
    elif c == c'f':
        out[0] = 12
    elif c == c'v':
        out[0] = 11
    elif c == c'0':
        out[0] = 0
    elif c == 10:
        written[0] = 0  # a line that goes on
    elif c == 13:
        written[0] = 0
        return 3 if left > 2 and text[2] == 10 else 2
    elif c < 0x80 and c > 0x1F and not (c'0' <= c <= c'9' or c'A' <= c <= c'Z' or c'a' <= c <= c'z'):
        out[0] = c
    else:
        return 0
    return 2


cdef Py_ssize_t step_percent(const unsigned char* text, Py_ssize_t left, unsigned char* out, Py_ssize_t* written) noexcept nogil:
    cdef uint32_t code
    if left > 5 and text[1] == c'u' and read_hex(text + 2, left - 2, 4, &code) == 4:
        written[0] = write_code(code, out)
        return 6
    if read_hex(text + 1, left - 1, 2, &code) < 2:
        return 0
    out[0] = code
    written[0] = 1
    return 3


cdef Py_ssize_t step_ampersand(const unsigned char* text, Py_ssize_t left, unsigned char* out, Py_ssize_t* written) noexcept nogil:
    cdef uint32_t code = 0
    cdef Py_ssize_t n, at
    cdef Entity* found
    if left < 3:
        return 0
    if text[1] == c'#':
        at = 2
        if text[2] == c'x' or text[2] == c'X':
            n = read_hex(text + 3, left - 3, 6, &code)
            at = 3
        else:
            n = 0
            while n < 7 and 2 + n < left and c'0' <= text[2 + n] <= c'9':
                code = code * 10 + (text[2 + n] - c'0')
                n += 1
        if not n or code > MAX_CODE:
            return 0
        at += n
        if at < left and text[at] == c';':
            at += 1
        written[0] = write_code(code, out)
        return at
    n = 0
    while n <= MAX_ENTITY and 1 + n < left and (c'A' <= text[1 + n] <= c'Z' or c'a' <= text[1 + n] <= c'z'):
        n += 1
    if not n or n > MAX_ENTITY or 1 + n >= left or text[1 + n] != c';':
        return 0
    found = &ENTITIES[entity_slot(text + 1, n)]
    if not found.length:
        return 0
    out[0] = found.code
    written[0] = 1
    return n + 2


cdef Py_ssize_t read_escape(
    const unsigned char* text, Py_ssize_t left, unsigned char* out, Py_ssize_t* written
) noexcept nogil:
    if text[0] == c'\\':
        return step_backslash(text, left, out, written)
    if text[0] == c'%':
        return step_percent(text, left, out, written)
    if text[0] == c'&':
        return step_ampersand(text, left, out, written)
    return 0


cdef Py_ssize_t read_quoted(
    const unsigned char* text, Py_ssize_t left, unsigned char* out, Py_ssize_t* written
) noexcept nogil:
    cdef uint32_t code
    if text[0] != c'=':
        return 0
    if left > 2 and read_hex(text + 1, 2, 2, &code) == 2:
        out[0] = code
        written[0] = 1
        return 3
    written[0] = 0
    if left > 2 and text[1] == 13 and text[2] == 10:
        return 3
    return 2 if left > 1 and text[1] == 10 else 0


cdef Py_ssize_t read_fold(
    const unsigned char* text, Py_ssize_t left, unsigned char* out, Py_ssize_t* written
) noexcept nogil:
    cdef Py_ssize_t n = 1
    written[0] = 0
    if text[0] == 0:
        return 1
    if text[0] != 10 and text[0] != 13:
        return 0
    while n < left and (text[n] == 10 or text[n] == 13 or text[n] == c' ' or text[n] == 9):
        n += 1
    return n


# --- passes -------------------------------------------------------------------------------------------------------------


cdef object made(bytes text, Reader read, unsigned char kind, bint is_mapped):
    """The view, and its map where it is wanted: the text itself where there is nothing to read."""
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text), at = 0, taken, written = 0, length = 0, i
    cdef unsigned char* out
    cdef unsigned char scratch[8]
    cdef unsigned long long* starts = NULL
    cdef unsigned long long* ends = NULL
    cdef c_array.array first, last
    cdef bytes view
    if not is_mapped:
        while at < size and not (BEGINS[data[at]] == kind and read(data + at, size - at, scratch, &written)):
            at += 1
        if at == size:
            return text
    view = PyBytes_FromStringAndSize(NULL, size)
    out = <unsigned char*>PyBytes_AS_STRING(view)
    if is_mapped:
        first, last = c_array.clone(MAP, size, zero=False), c_array.clone(MAP, size, zero=False)
        starts, ends = first.data.as_ulonglongs, last.data.as_ulonglongs
    else:
        memcpy(out, data, at)
        length = at
    while at < size:
        taken = read(data + at, size - at, out + length, &written) if BEGINS[data[at]] == kind else 0
        if not taken:
            out[length] = data[at]
            taken = written = 1
        if is_mapped:
            for i in range(written):
                starts[length + i] = at
                ends[length + i] = at + taken
        length += written
        at += taken
    return (view[:length], first, last) if is_mapped else view[:length]


def needs_views(bytes text):
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(text)
    cdef Py_ssize_t at
    for at in range(PyBytes_GET_SIZE(text)):
        if BEGINS[data[at]]:
            return True
    return False


def decode(bytes text):
    return made(text, read_escape, ESCAPE, False)


def decode_mapped(bytes text):
    return made(text, read_escape, ESCAPE, True)


def unquote(bytes text):
    return made(text, read_quoted, QUOTED, False)


def unquote_mapped(bytes text):
    return made(text, read_quoted, QUOTED, True)


def unfold(bytes text):
    return made(text, read_fold, FOLD, False)


def unfold_mapped(bytes text):
    return made(text, read_fold, FOLD, True)
