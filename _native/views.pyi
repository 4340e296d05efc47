"""What a text says when its escapes are read: the views in which `briefcase.core.redaction.redactor` also looks.

Each view is at most as long as its text, and made in one pass over it. Where nothing is to be read, it is the very same
object. Two maps give, for each byte of the view, where in the text begins and where ends what the byte was read from.
"""

from array import array

def needs_views(text: bytes) -> bool:
    r"""Whether any byte is in the text that an escape or a fold begins with: one of `\ % & =`, CR, LF, NUL."""

def decode(text: bytes) -> bytes:
    r"""The text with every escape read once, each kind where it stands.

    `\uXXXX` (surrogate pairs too), `\u{X}`, `\UXXXXXXXX`, `\xXX`, `\ooo`, `\n` and its like, a backslash before
    punctuation or a line end; `%XX` and `%uXXXX`; `&#D;`, `&#xX;` and the named character references of ASCII.
    """

def decode_mapped(text: bytes) -> tuple[bytes, array[int], array[int]]:
    """As `decode`, with the maps."""

def unquote(text: bytes) -> bytes:
    """The text with quoted-printable read (RFC 2045 section 6.7): `=XX`, and an `=` at the end of a line."""

def unquote_mapped(text: bytes) -> tuple[bytes, array[int], array[int]]:
    """As `unquote`, with the maps."""

def unfold(text: bytes) -> bytes:
    """The text without line ends, the blanks that begin the next line, and NULs: MIME and PEM base64, UTF-16."""

def unfold_mapped(text: bytes) -> tuple[bytes, array[int], array[int]]:
    """As `unfold`, with the maps."""
