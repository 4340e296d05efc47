# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The SHA-256 chain of receipts and its verification in batches.

Verifying checks a record's bytes, not a parsed copy: the scanner accepts exactly the bytes that `canonical_event`
would write, so a verified record reads the same to every JSON reader, and finds `id` and `ts` on its way.

SHA-256 is `hashlib`'s (docs/adr/0003).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from briefcase._native.canonical cimport MAX_DEPTH, MAX_SAFE, compare_codes, is_plain8, short_escape

from hashlib import sha256


cpdef str chain_hash(str prev_hash_hex, bytes canonical):
    if len(prev_hash_hex) != HEX_SIZE:
        raise ValueError(f"expected 64 hexadecimal digits, got {len(prev_hash_hex)} characters")
    return sha256(prev_hash_hex.encode("ascii") + canonical).hexdigest()


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


# --- the scanner ------------------------------------------------------------------------------------------------------


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
            return compare_codes(a_code, b_code) < 0
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
        if size - at >= 8 and is_plain8(data + at):
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
        return 2 if short_escape(_unescaped(here[1])) == here[1] else 0
    if left < 6 or here[2] != c'0' or here[3] != c'0' or not c'0' <= here[4] <= c'1':
        return 0
    if not (c'0' <= here[5] <= c'9' or c'a' <= here[5] <= c'f'):
        return 0
    code = (here[4] - 48) << 4 | (here[5] - 48 if here[5] <= c'9' else here[5] - 87)
    return 6 if short_escape(code) == 0 else 0


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
