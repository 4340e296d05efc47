"""Patterns over text of a caller's choosing, on an engine whose time is linear in the text.

`re` backtracks: a pattern that looks harmless takes the square of its text, and holds the interpreter's lock meanwhile.
The engine here is Rust's `regex`, which jsonschema-rs brings for the `pattern` of a schema: it has neither look-around
nor back-references, and its worst case is the length of the text times the size of the pattern. docs/adr/0025 has the
measurements; `tests/test_patterns.py` grows the worst input of every pattern of the package, whatever runs it.
"""

from __future__ import annotations

from typing import Final

import jsonschema_rs

MAX_PROGRAM_BYTES: Final = 1 << 20

_BOUNDS: Final = jsonschema_rs.RegexOptions(size_limit=MAX_PROGRAM_BYTES, dfa_size_limit=MAX_PROGRAM_BYTES)


class LinearPattern:
    r"""A pattern that is looked for anywhere in a text.

    Syntax: Rust's `regex`. Write a word boundary as `(?-u:\b)`: Unicode's own costs twenty times as much where a text
    is not ASCII, and takes the letter before a credential for a part of it.
    """

    def __init__(self, pattern: str) -> None:
        """Compile.

        Raises:
            ValueError: it is no pattern of this engine.
        """
        self.pattern = pattern
        self.is_in = jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=_BOUNDS).is_valid
        """Whether the pattern is anywhere in a text."""
