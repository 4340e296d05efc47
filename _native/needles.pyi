"""Patterns found by their 4-grams: what `briefcase.core.redaction.redactor` says in words."""

class Needles:
    """Byte patterns, and where they are in a text.

    Args:
        stride: a multiple of 4. One window of each pattern, three bytes longer, is indexed, so that wherever the
            pattern lies in a text one indexed 4-gram lies on a multiple of the stride.
    """

    stride: int

    def __init__(self, stride: int) -> None: ...
    def __len__(self) -> int: ...
    def add(self, pattern: bytes) -> None:
        """Make a pattern findable; its number is how many there were before it.

        Raises:
            ValueError: it is shorter than a window.
        """

    def find(self, text: bytes, most: int) -> list[tuple[int, int, int]]:
        """Where patterns are: start, end and the pattern's number, in no order; the search ends once it has found more
        than `most`.

        The work is linear in the text: each place on the stride costs a look into the table, and where the table knows
        its gram, a comparison with each of the patterns of that gram.
        """

    def crowd(self) -> int:
        """The most patterns that one gram leads to."""
