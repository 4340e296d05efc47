# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Canonical bytes of receipts (RFC 8785), their SHA-256 chain, and its verification in batches.

Canonicalising runs no Python code between the first byte and the last, so borrowed references hold throughout:
dictionaries are walked, sorted and written in C. What is refused is named with its path, found while unwinding.

Verifying checks a record's bytes, not a parsed copy: the scanner accepts exactly the bytes that `canonical_event`
would write, so a verified record reads the same to every JSON reader, and finds `id` and `ts` on its way.

SHA-256 is `hashlib`'s (docs/adr/0003).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from libc.math cimport isfinite
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy

from hashlib import sha256

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
    char* PyOS_double_to_string(double, char, int, int, int*)
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

cdef extern from *:
    """
    #define BRIEFCASE_MAX_SAFE 9007199254740991LL   /* 2^53-1 */
    #define BRIEFCASE_ONES 0x0101010101010101ULL    /* a one in each byte */
    """
    const long long MAX_SAFE "BRIEFCASE_MAX_SAFE"
    const uint64_t ONES "BRIEFCASE_ONES"


cpdef bytes canonical(object value):
    return _canonical(value, True)


cpdef bytes canonical_event(object event):
    if not isinstance(event, dict):
        raise TypeError(f"expected an event as a dict, got {type(event).__name__}")
    return _canonical(event, False)


cpdef str chain_hash(str prev_hash_hex, bytes canonical):
    if len(prev_hash_hex) != HEX_SIZE:
        raise ValueError(f"expected 64 hexadecimal digits, got {len(prev_hash_hex)} characters")
    return sha256(prev_hash_hex.encode("ascii") + canonical).hexdigest()


# --- writing ----------------------------------------------------------------------------------------------------------


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
    cdef char* shortest
    cdef int result
    if not w.floats:
        return _fail(w, FLOAT_IN_EVENT, value)
    if not isfinite(number):
        return _fail(w, BAD_FLOAT, value)
    if number == 0:
        return _write_word(w, "0", 1)  # -0 too
    shortest = PyOS_double_to_string(number, c'r', 0, 0, NULL)
    if shortest == NULL:
        return _fail(w, NO_MEMORY, NULL)
    result = _write_shortest(w, shortest)
    PyMem_Free(shortest)
    return result


cdef int _write_shortest(Writer* w, const char* text) noexcept:
    """From `-ddd.ddde±xx` (Python's repr) to ECMAScript's form: `k` digits with the point after the first `n`."""
    cdef unsigned char digits[MAX_NUMBER]
    cdef int k = 0, n = 0, i, exponent = 0
    cdef bint point = False, negative_exponent = False
    if text[0] == c'-':
        if _write_word(w, "-", 1) < 0:
            return -1
        text += 1
    while text[0] != 0 and text[0] != c'e':
        if text[0] == c'.':
            point = True
        else:
            if k > 0 or text[0] != c'0':
                digits[k] = <unsigned char>text[0]
                k += 1
                n += not point
            elif point:
                n -= 1
        text += 1
    if text[0] == c'e':
        negative_exponent = text[1] == c'-'
        text += 2
        while text[0] != 0:
            exponent = exponent * 10 + (text[0] - 48)
            text += 1
        n += -exponent if negative_exponent else exponent
    while k > 1 and digits[k - 1] == c'0':
        k -= 1
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
            if length - i >= 8 and _is_plain8(ascii + i):
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


cdef inline bint _is_plain8(const unsigned char* here) noexcept nogil:
    """Whether eight bytes are ASCII that needs no escape: no control, quote, backslash, or byte past 0x7F.

    For each of the four, the top bit of a byte is set where it occurs (S. E. Anderson, Bit Twiddling Hacks, "haszero").
    """
    cdef uint64_t word, quotes, backslashes
    memcpy(&word, here, 8)
    quotes = word ^ (ONES * 0x22)
    backslashes = word ^ (ONES * 0x5C)
    return (
        (word | (word - ONES * 0x20) | ((quotes - ONES) & ~quotes) | ((backslashes - ONES) & ~backslashes))
        & (ONES * 0x80)
    ) == 0


cdef void _put_escaped(Writer* w, uint32_t code) noexcept nogil:
    cdef unsigned char short_form = _short_escape(code)
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


cdef inline unsigned char _short_escape(uint32_t code) noexcept nogil:
    """The letter after the backslash, or 0 where the control has none."""
    if code == c'"' or code == c'\\':
        return <unsigned char>code
    if code == 8:
        return c'b'
    if code == 9:
        return c't'
    if code == 10:
        return c'n'
    if code == 12:
        return c'f'
    if code == 13:
        return c'r'
    return 0


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
            return _compare_codes(a_code, b_code)
    return (a_length > b_length) - (a_length < b_length)


cdef inline int _compare_codes(uint32_t a, uint32_t b) noexcept nogil:
    """Two different code points as their UTF-16 code units order: beyond the BMP means a surrogate comes first."""
    if a >= 0x10000 and b < 0x10000:
        return -1 if 0xD800 < b else 1
    if b >= 0x10000 and a < 0x10000:
        return 1 if 0xD800 < a else -1
    return -1 if a < b else 1


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


# --- checking ---------------------------------------------------------------------------------------------------------


cpdef bint is_canonical_event(bytes data):
    cdef Scanner s
    return _scan_event(&s, <const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cpdef tuple verify_records(list records, uint64_t first_id, bytes prev_hash_hex, bytes prev_ts):
    cdef Link link
    cdef Py_ssize_t good = 0
    cdef object problem = None
    if PyBytes_GET_SIZE(prev_hash_hex) != HEX_SIZE:
        raise ValueError(f"expected 64 hexadecimal digits, got {len(prev_hash_hex)} bytes")
    if PyBytes_GET_SIZE(prev_ts) != TS_SIZE:
        raise ValueError(f"expected a time of 27 bytes, got {len(prev_ts)} bytes")
    link.id = first_id
    memcpy(link.prev_hash_hex, PyBytes_AS_STRING(prev_hash_hex), HEX_SIZE)
    memcpy(link.ts, PyBytes_AS_STRING(prev_ts), TS_SIZE)
    for key, record in records:
        problem = _record_problem(&link, key, record)
        if problem is not None:
            break
        good += 1
    return (
        good,
        problem,
        PyBytes_FromStringAndSize(<char*>link.prev_hash_hex, HEX_SIZE),
        PyBytes_FromStringAndSize(<char*>link.ts, TS_SIZE),
    )


cdef object _record_problem(Link* link, bytes key, bytes record):
    """Check one record against what must come next, and move the link past it. Returns a problem word or None."""
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(record)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(record)
    cdef unsigned char found[HEX_SIZE]
    cdef Scanner s

    # 1. the sequence
    if PyBytes_GET_SIZE(key) != 8 or _read_id(<const unsigned char*>PyBytes_AS_STRING(key)) != link.id:
        return "id_sequence"
    # 2. the record's own form
    if size < 2 * HEX_SIZE:
        return "malformed"
    # 3. the link to the one before
    if memcmp(data + HEX_SIZE, link.prev_hash_hex, HEX_SIZE) != 0:
        return "prev_hash"
    # 4. the hash over link and event
    _hex(sha256(PyBytes_FromStringAndSize(<const char*>data + HEX_SIZE, size - HEX_SIZE)).digest(), found)
    if memcmp(data, found, HEX_SIZE) != 0:
        return "hash"
    # 5. the event's bytes are canonical
    if not _scan_event(&s, data + 2 * HEX_SIZE, size - 2 * HEX_SIZE):
        return "not_canonical"
    # 6. the event repeats the record's id, and has a time
    if not _is_id(&s, link.id):
        return "event_id"
    if not _is_ts(&s):
        return "event_ts"
    # 7. time never goes back
    if memcmp(&s.data[s.ts_start], link.ts, TS_SIZE) < 0:
        return "time_went_back"

    memcpy(link.prev_hash_hex, data, HEX_SIZE)
    memcpy(link.ts, &s.data[s.ts_start], TS_SIZE)
    link.id += 1
    return None


cdef inline uint64_t _read_id(const unsigned char* key) noexcept nogil:
    cdef uint64_t number = 0
    cdef int i
    for i in range(8):
        number = number << 8 | key[i]
    return number


cdef inline void _hex(bytes digest, unsigned char* out) noexcept:
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(digest)
    cdef const unsigned char* digits = b"0123456789abcdef"
    cdef int i
    for i in range(HEX_SIZE // 2):
        out[2 * i] = digits[data[i] >> 4]
        out[2 * i + 1] = digits[data[i] & 15]


cdef bint _is_id(Scanner* s, uint64_t expected) noexcept nogil:
    cdef uint64_t number = 0
    cdef Py_ssize_t i
    if s.id_start < 0:
        return False
    for i in range(s.id_start, s.id_end):
        if not c'0' <= s.data[i] <= c'9':
            return False
        number = number * 10 + (s.data[i] - 48)  # no overflow: the scanner bounded it
    return number == expected


cdef bint _is_ts(Scanner* s) noexcept nogil:
    """`"YYYY-MM-DDThh:mm:ss.uuuuuuZ"`: of one length, so that bytes compare as times do."""
    cdef const char* form = b"0000-00-00T00:00:00.000000Z"
    cdef const unsigned char* ts = s.data + s.ts_start
    cdef int i
    if s.ts_start < 0 or s.ts_end - s.ts_start != TS_SIZE:
        return False
    for i in range(TS_SIZE):
        if form[i] == c'0':
            if not c'0' <= ts[i] <= c'9':
                return False
        elif ts[i] != <unsigned char>form[i]:
            return False
    return True


cdef bint _scan_event(Scanner* s, const unsigned char* data, Py_ssize_t size) noexcept nogil:
    s.data = data
    s.size = size
    s.at = 0
    s.id_start = s.id_end = s.ts_start = s.ts_end = -1
    return _next_is(s, c'{') and _scan_members(s, 1) and s.at == size


cdef inline bint _next_is(Scanner* s, unsigned char byte) noexcept nogil:
    if s.at < s.size and s.data[s.at] == byte:
        s.at += 1
        return True
    return False


cdef bint _scan_value(Scanner* s, int depth) noexcept nogil:
    cdef unsigned char first
    cdef bint plain
    if s.at >= s.size:
        return False
    first = s.data[s.at]
    if first == c'"':
        return _scan_string(s, &plain)
    if first == c'-' or c'0' <= first <= c'9':
        return _scan_integer(s)
    if first == c'{':
        s.at += 1
        return depth < MAX_DEPTH and _scan_members(s, depth + 1)
    if first == c'[':
        s.at += 1
        return depth < MAX_DEPTH and _scan_items(s, depth + 1)
    if first == c't':
        return _scan_word(s, "true", 4)
    if first == c'f':
        return _scan_word(s, "false", 5)
    return _scan_word(s, "null", 4)


cdef inline bint _scan_word(Scanner* s, const char* word, Py_ssize_t size) noexcept nogil:
    if s.size - s.at < size or memcmp(s.data + s.at, word, size) != 0:
        return False
    s.at += size
    return True


cdef bint _scan_integer(Scanner* s) noexcept nogil:
    cdef long long number = 0
    cdef Py_ssize_t start
    cdef bint negative = _next_is(s, c'-')
    start = s.at
    while s.at < s.size and c'0' <= s.data[s.at] <= c'9':
        number = number * 10 + (s.data[s.at] - 48)
        if number > MAX_SAFE:
            return False
        s.at += 1
    if s.at == start:
        return False
    if s.data[start] == c'0':  # no leading zero, no -0
        return s.at == start + 1 and not negative
    return True


cdef bint _scan_items(Scanner* s, int depth) noexcept nogil:
    if _next_is(s, c']'):
        return True
    while True:
        if not _scan_value(s, depth):
            return False
        if not _next_is(s, c','):
            return _next_is(s, c']')


cdef bint _scan_members(Scanner* s, int depth) noexcept nogil:
    """An object after its brace: keys strictly ascending, so none twice."""
    cdef Py_ssize_t key_start, key_end, value_start
    cdef Py_ssize_t last_start = -1, last_end = -1
    cdef bint plain = False, last_plain = False
    if _next_is(s, c'}'):
        return True
    while True:
        key_start = s.at + 1
        if not (s.at < s.size and s.data[s.at] == c'"' and _scan_string(s, &plain)):
            return False
        key_end = s.at - 1
        if last_start >= 0 and not _is_before(s, last_start, last_end, key_start, key_end, plain and last_plain):
            return False
        if not _next_is(s, c':'):
            return False
        value_start = s.at
        if not _scan_value(s, depth):
            return False
        if depth == 1 and key_end - key_start == 2:
            _note_member(s, key_start, value_start)
        if not _next_is(s, c','):
            return _next_is(s, c'}')
        last_start, last_end, last_plain = key_start, key_end, plain


cdef inline void _note_member(Scanner* s, Py_ssize_t key_start, Py_ssize_t value_start) noexcept nogil:
    if memcmp(s.data + key_start, b"id", 2) == 0:
        s.id_start = value_start
        s.id_end = s.at
    elif memcmp(s.data + key_start, b"ts", 2) == 0 and s.data[value_start] == c'"':
        s.ts_start = value_start + 1
        s.ts_end = s.at - 1


cdef bint _is_before(
    Scanner* s, Py_ssize_t a, Py_ssize_t a_end, Py_ssize_t b, Py_ssize_t b_end, bint plain
) noexcept nogil:
    """Whether key `a` sorts before key `b`, by UTF-16 code units. Both were scanned, so both are well formed."""
    cdef Py_ssize_t shorter = a_end - a if a_end - a < b_end - b else b_end - b
    cdef uint32_t a_code, b_code
    cdef int order
    if plain:
        order = memcmp(s.data + a, s.data + b, shorter)
        return order < 0 or (order == 0 and a_end - a < b_end - b)
    while a < a_end and b < b_end:
        a_code = _read_code(s.data, &a)
        b_code = _read_code(s.data, &b)
        if a_code != b_code:
            return _compare_codes(a_code, b_code) < 0
    return a == a_end and b < b_end


cdef uint32_t _read_code(const unsigned char* data, Py_ssize_t* at) noexcept nogil:
    """One code point of a string that was scanned: an escape, or UTF-8."""
    cdef const unsigned char* here = data + at[0]
    cdef uint32_t low
    if here[0] == c'\\':
        if here[1] == c'u':
            at[0] += 6
            low = here[5] - 48 if here[5] <= c'9' else here[5] - 87
            return (here[4] - 48) << 4 | low
        at[0] += 2
        return _unescaped(here[1])
    if here[0] < 0x80:
        at[0] += 1
        return here[0]
    if here[0] < 0xE0:
        at[0] += 2
        return (here[0] & 0x1F) << 6 | here[1] & 0x3F
    if here[0] < 0xF0:
        at[0] += 3
        return (here[0] & 0x0F) << 12 | (here[1] & 0x3F) << 6 | here[2] & 0x3F
    at[0] += 4
    return (here[0] & 0x07) << 18 | (here[1] & 0x3F) << 12 | (here[2] & 0x3F) << 6 | here[3] & 0x3F


cdef inline uint32_t _unescaped(unsigned char letter) noexcept nogil:
    if letter == c'b':
        return 8
    if letter == c't':
        return 9
    if letter == c'n':
        return 10
    if letter == c'f':
        return 12
    if letter == c'r':
        return 13
    return letter


cdef bint _scan_string(Scanner* s, bint* plain) noexcept nogil:
    """A string from its opening to past its closing quote: minimal escapes, valid UTF-8 (RFC 3629 section 4)."""
    cdef const unsigned char* data = s.data
    cdef Py_ssize_t at = s.at + 1, size = s.size
    cdef unsigned char byte
    cdef int length
    plain[0] = True
    while at < size:
        if size - at >= 8 and _is_plain8(data + at):
            at += 8
            continue
        byte = data[at]
        if 0x20 <= byte < 0x80 and byte != c'"' and byte != c'\\':
            at += 1
        elif byte == c'"':
            s.at = at + 1
            return True
        else:
            plain[0] = False
            if byte == c'\\':
                length = _escape_length(data + at, size - at)
            else:
                length = _utf8_length(data + at, size - at)
            if length == 0:
                return False
            at += length
    return False


cdef int _escape_length(const unsigned char* here, Py_ssize_t left) noexcept nogil:
    """How long a minimal escape is; 0 where it is none."""
    cdef uint32_t code
    if left < 2:
        return 0
    if here[1] != c'u':
        return 2 if _short_escape(_unescaped(here[1])) == here[1] else 0
    if left < 6 or here[2] != c'0' or here[3] != c'0' or not c'0' <= here[4] <= c'1':
        return 0
    if not (c'0' <= here[5] <= c'9' or c'a' <= here[5] <= c'f'):
        return 0
    code = (here[4] - 48) << 4 | (here[5] - 48 if here[5] <= c'9' else here[5] - 87)
    return 6 if _short_escape(code) == 0 else 0


cdef int _utf8_length(const unsigned char* here, Py_ssize_t left) noexcept nogil:
    """How long a valid sequence beyond ASCII is; 0 where it is none: overlong, a surrogate, past U+10FFFF, cut off."""
    cdef unsigned char first = here[0], low = 0x80, high = 0xBF
    cdef int length, i
    if 0xC2 <= first <= 0xDF:
        length = 2
    elif 0xE0 <= first <= 0xEF:
        length = 3
        if first == 0xE0:
            low = 0xA0
        elif first == 0xED:
            high = 0x9F
    elif 0xF0 <= first <= 0xF4:
        length = 4
        if first == 0xF0:
            low = 0x90
        elif first == 0xF4:
            high = 0x8F
    else:
        return 0
    if left < length or not low <= here[1] <= high:
        return 0
    for i in range(2, length):
        if not 0x80 <= here[i] <= 0xBF:
            return 0
    return length
