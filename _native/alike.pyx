# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Characters that nobody sees, or that are taken for others, each found in one pass.

The rules are those of `briefcase.core.characters.marks`, by their numbers. A run of letters, or of letters that look
like ASCII's, is looked at from its beginning, once by each rule, so that the whole is linear. A letter that is newer
than the interpreter's Unicode is in the tables, and is no letter to a word that it stands in.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_KIND
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from "Python.h":
    bint Py_UNICODE_ISALNUM(Py_UCS4 char) nogil
    bint Py_UNICODE_ISDECIMAL(Py_UCS4 char) nogil
    bint Py_UNICODE_ISPRINTABLE(Py_UCS4 char) nogil

cdef enum:
    PAGE_BITS = 8
    PAGES = 0x1100
    CHARACTERS = 0x110000
    LAST_OF_ASCII = 0x7F

ctypedef fused Unit:
    uint8_t
    uint16_t
    uint32_t


cdef class Alphabet:
    def __cinit__(self, *, unseen, latin, letters, signs, beyond):
        cdef Py_ssize_t count = len(unseen) + len(latin) + len(letters) + len(signs) + len(beyond)
        self._classes = <uint8_t*>PyMem_Calloc(CHARACTERS, 1)  # of which only the pages that are learnt are memory
        self._is_learnt = <uint8_t*>PyMem_Calloc(PAGES, 1)
        self._ranges = <Range*>PyMem_Calloc(count, sizeof(Range))
        if self._classes == NULL or self._is_learnt == NULL or self._ranges == NULL:
            raise MemoryError
        self._add(unseen, UNSEEN)
        self._add(latin, LATIN)
        self._add(letters, ALIKE)
        self._add(signs, SIGN)
        self._add(beyond, BEYOND)

    def __dealloc__(self):
        PyMem_Free(self._classes)
        PyMem_Free(self._is_learnt)
        PyMem_Free(self._ranges)

    def has_unseen(self, str text not None):
        cdef int kind = PyUnicode_KIND(text)
        if kind == 1:
            return is_unseen_in(self, <const uint8_t*>PyUnicode_DATA(text), len(text))
        if kind == 2:
            return is_unseen_in(self, <const uint16_t*>PyUnicode_DATA(text), len(text))
        return is_unseen_in(self, <const uint32_t*>PyUnicode_DATA(text), len(text))

    def has_alike(self, str text not None):
        cdef int kind = PyUnicode_KIND(text)
        if kind == 1:
            return is_alike_in(self, <const uint8_t*>PyUnicode_DATA(text), len(text))
        if kind == 2:
            return is_alike_in(self, <const uint16_t*>PyUnicode_DATA(text), len(text))
        return is_alike_in(self, <const uint32_t*>PyUnicode_DATA(text), len(text))

    cdef int _add(self, object ranges, uint8_t known) except -1:
        cdef Py_ssize_t first, last
        for first, last in ranges:
            if not 0 <= first <= last < CHARACTERS:
                raise ValueError(f"expected a range of characters, got {first:#x} to {last:#x}")
            self._ranges[self._count] = Range(<uint32_t>first, <uint32_t>last, known)
            self._count += 1
        return 0

    cdef void _learn(self, uint32_t page) noexcept nogil:
        """Find the classes of 256 characters: what the interpreter knows of each, and the tables."""
        cdef uint32_t begin = page << PAGE_BITS, end = (page + 1) << PAGE_BITS, char, first, last
        cdef Py_ssize_t at
        for char in range(begin, end):
            self._classes[char] = class_in_unicode(<Py_UCS4>char)
        for at in range(self._count):
            first, last = max(self._ranges[at].first, begin), min(self._ranges[at].last, end - 1)
            for char in range(first, last + 1):
                self._classes[char] |= self._ranges[at].known
        self._is_learnt[page] = True


cdef inline uint8_t class_in_unicode(Py_UCS4 char) noexcept nogil:
    cdef uint8_t found = 0 if Py_UNICODE_ISPRINTABLE(char) else UNSEEN
    if Py_UNICODE_ISDECIMAL(char):
        return found | DIGIT if char > LAST_OF_ASCII else found
    return found | LETTER if Py_UNICODE_ISALNUM(char) else found


cdef inline uint8_t class_at(Alphabet alphabet, const Unit* text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """The class of a character; none past the end."""
    if at >= size:
        return 0
    if not alphabet._is_learnt[text[at] >> PAGE_BITS]:
        alphabet._learn(text[at] >> PAGE_BITS)
    return alphabet._classes[text[at]]


cdef inline bint is_of_no_latin(uint8_t found) noexcept nogil:
    return found & (LETTER | LATIN) == LETTER


cdef inline bint is_plain(uint8_t found) noexcept nogil:
    """A letter of another script that looks like no ASCII letter."""
    return found & (LETTER | LATIN | ALIKE) == LETTER


cdef inline bint is_ascii_alnum(Py_UCS4 char) noexcept nogil:
    return c"0" <= char <= c"9" or c"A" <= char <= c"Z" or c"a" <= char <= c"z"


cdef inline bint is_joint(Py_UCS4 char) noexcept nogil:
    """What puts a part of a host, an address or a path beside the next one."""
    return char == c"." or char == c"@" or char == c"/" or char == c"\\" or char == c":" or char == c"_" or char == c"-"


cdef inline bint opens_sign(Py_UCS4 char) noexcept nogil:
    """What a sign comes after where it is read as ASCII: `[!#-=?-~]`."""
    return c"!" <= char <= c"~" and char != c'"' and char != c">"


cdef inline bint closes_sign(Py_UCS4 char) noexcept nogil:
    """What such a sign comes before: `[!#-;=-~]`."""
    return c"!" <= char <= c"~" and char != c'"' and char != c"<"


cdef inline Py_ssize_t end_of(
    Alphabet alphabet, const Unit* text, Py_ssize_t size, Py_ssize_t at, uint8_t wanted
) noexcept nogil:
    """Where a run of some class ends."""
    while class_at(alphabet, text, size, at) & wanted:
        at += 1
    return at


cdef bint is_unseen_in(Alphabet alphabet, const Unit* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(size):
        if class_at(alphabet, text, size, at) & UNSEEN:
            return True
    return False


cdef bint is_alike_in(Alphabet alphabet, const Unit* text, Py_ssize_t size) noexcept nogil:
    """`run_end` is where the run of alike letters ends that was met last."""
    cdef Py_ssize_t at, run_end = 0, signs_end
    cdef uint8_t here, before = 0
    for at in range(size):
        here = class_at(alphabet, text, size, at)
        if here & BEYOND:  # 5
            return True
        if here & ALIKE:
            if at >= run_end:
                run_end = end_of(alphabet, text, size, at, ALIKE)
            if is_alike_alone(alphabet, text, size, at, run_end, before):  # 2
                return True
        if is_of_no_latin(here) and not is_of_no_latin(before) and is_mixed(alphabet, text, size, at, before):  # 1
            return True
        if here & DIGIT:  # 3
            if at >= 1 and is_ascii_alnum(text[at - 1]) or at + 1 < size and is_ascii_alnum(text[at + 1]):
                return True
        if here & SIGN and at >= 1 and opens_sign(text[at - 1]):  # 4
            signs_end = end_of(alphabet, text, size, at, SIGN)
            if signs_end < size and closes_sign(text[signs_end]):
                return True
        before = here
    return False


cdef bint is_alike_alone(
    Alphabet alphabet, const Unit* text, Py_ssize_t size, Py_ssize_t at, Py_ssize_t run_end, uint8_t before
) noexcept nogil:
    """Whether alike letters, from here to the end of their run, are a word that is taken for one of ASCII."""
    cdef bint begins_word = not before & LETTER, is_after_space = at >= 2 and text[at - 1] == c" "
    if begins_word and run_end + 1 < size and is_joint(text[run_end]) and is_ascii_alnum(text[run_end + 1]):
        return True
    if class_at(alphabet, text, size, run_end) & LETTER:
        return False
    if at >= 2 and is_joint(text[at - 1]) and is_ascii_alnum(text[at - 2]):
        return True
    if not begins_word or is_after_space and is_plain(class_at(alphabet, text, size, at - 2)):
        return False
    return run_end >= size or text[run_end] != c" " or not is_plain(
        class_at(alphabet, text, size, end_of(alphabet, text, size, run_end + 1, LATIN | ALIKE))
    )


cdef bint is_mixed(
    Alphabet alphabet, const Unit* text, Py_ssize_t size, Py_ssize_t at, uint8_t before
) noexcept nogil:
    """Whether a part of a word that holds no Latin letter has an alike one in it, and a Latin one beside it."""
    cdef bint begins_alike = class_at(alphabet, text, size, at) & ALIKE
    cdef Py_ssize_t first = at + 1  # alike letter after plain ones
    while is_plain(class_at(alphabet, text, size, first)):
        first += 1
    cdef bint goes_on_alike = class_at(alphabet, text, size, first) & ALIKE
    if before & LATIN:
        return begins_alike or goes_on_alike
    return (begins_alike and is_latin_next(alphabet, text, size, at + 1)) or (
        goes_on_alike and is_latin_next(alphabet, text, size, first + 1)
    )


cdef bint is_latin_next(Alphabet alphabet, const Unit* text, Py_ssize_t size, Py_ssize_t at) noexcept nogil:
    """Whether the next letter that is Latin, or no letter, is Latin."""
    while is_of_no_latin(class_at(alphabet, text, size, at)):
        at += 1
    return class_at(alphabet, text, size, at) & LATIN
