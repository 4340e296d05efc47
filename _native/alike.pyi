"""Characters that nobody sees, or that are taken for others: what `briefcase.core.characters.marks` says in words."""

from collections.abc import Sequence

class Alphabet:
    """What each character is, by tables, and by what the interpreter knows of Unicode.

    Args:
        unseen: ranges, first and last, of characters that nobody sees, beside those that do not print.
        latin: of letters of the Latin script that look like no other ASCII letter.
        letters: of letters that look like ASCII letters or digits.
        signs: of other characters that look like ASCII ones.
        beyond: of characters that are taken for ASCII wherever they stand.

    Raises:
        ValueError: a range is none of characters.
    """

    def __init__(
        self,
        *,
        unseen: Sequence[tuple[int, int]],
        latin: Sequence[tuple[int, int]],
        letters: Sequence[tuple[int, int]],
        signs: Sequence[tuple[int, int]],
        beyond: Sequence[tuple[int, int]],
    ) -> None: ...
    def has_unseen(self, text: str) -> bool:
        """Whether a text holds a character that nobody sees."""

    def has_alike(self, text: str) -> bool:
        """Whether a text holds a character, where it stands, that a person takes for another; in linear time."""
