"""Which tokens an upstream may issue: those that no ordinary text looks like.

Every token is looked for in what goes out, and cut out there. An upstream that issued a word, an account number or a
piece of JSON as its token would choose what is cut out of *other* calls: what an approver reads, what a receipt keeps.
So a token is taken only where it

1. follows the grammar of a bearer token (RFC 6750 section 2.1, and `|` and `:`, which some issuers use),
2. is at least `MIN_TOKEN_CHARS` long, and
3. has no likeness to words or numbers: it changes between lower case, upper case and digits at least `MIN_CHANGES`
   times (one less where it has digits), or it holds a run of hexadecimal digits with letters and digits mixed.

What the daemon itself writes and anybody can foretell is refused as well: its identifier, the digests of its own tools
and of its policy, those of no arguments and of nothing (`COMMON_DIGESTS`). The digest of arguments that an upstream
guesses is taken, since many issuers' tokens have the form of a digest; the mark in its place names the upstream.

Of random tokens of 22 characters of base64url (128 bits) about one in 200 fails rule 3, of 32 characters about none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from briefcase.model.errors import UpstreamError

MIN_TOKEN_CHARS: Final = 20
MIN_CHANGES: Final = 6
MIN_DIGITS: Final = 2  # with so many, one change less will do: names in code have few
MIN_HEX_OF_EACH: Final = 3  # letters, and digits, in a run of hexadecimal digits

COMMON_DIGESTS: Final = tuple(hashlib.sha256(written).hexdigest().encode() for written in (b"", b"{}"))

_GRAMMAR: Final = re.compile(r"[A-Za-z0-9._~+/|:-]+=*")
_WORD_BEGINS: Final = re.compile(r"(?:^|(?<=l))u(?=l)")
_HEX: Final = re.compile(r"[0-9a-f]{20,}|[0-9A-F]{20,}")


def check_issued_token(token: bytes, issuer: str, public: Sequence[bytes] = ()) -> None:
    """Check what an upstream issued.

    Args:
        token: an access token, a refresh token, a credential or a client's secret.
        issuer: the id of the provider or server, for the message.
        public: what everybody must go on to read, the daemon's own identifier and digests; no token is in it.

    Raises:
        UpstreamError: it could be ordinary text (`upstream_refused`).
    """
    problem = _problem_of(token.decode("utf-8", "replace"))
    if any(token in word for word in (*COMMON_DIGESTS, *public)):
        problem = "one that is no part of the daemon's own identifier or digests, got one that is"
    if problem:
        raise UpstreamError(
            f"`{issuer}` issued a token that could be ordinary text: expected {problem}",
            code="upstream_refused",
            hint="its issuer must make tokens of random characters, as RFC 6750 and RFC 6819 ask",
            sent=False,
        )


def _problem_of(token: str) -> str:
    """What was expected and what was found, or nothing. The token is not shown: it is a secret all the same."""
    if not _GRAMMAR.fullmatch(token):
        return "only letters, digits and `- . _ ~ + / | : =`, got another character"
    if len(token) < MIN_TOKEN_CHARS:
        return f"at least {MIN_TOKEN_CHARS} characters, got {len(token)}"
    changes = _changes_in(token)
    wanted = MIN_CHANGES - (sum(map(str.isdigit, token)) >= MIN_DIGITS)
    if changes < wanted and not any(map(_is_mixed, _HEX.findall(token.replace("-", "")))):
        return f"at least {wanted} changes between lower case, upper case and digits, got {changes}"
    return ""


def _changes_in(token: str) -> int:
    """How often the kind of character changes; from a capital that begins a word to its second letter is no change."""
    kinds = "".join("d" if c.isdigit() else "u" if c.isupper() else "l" for c in token if c.isalnum())
    changes = sum(one != other for one, other in pairwise(kinds))
    return changes - len(_WORD_BEGINS.findall(kinds))


def _is_mixed(run: str) -> bool:
    digits = sum(map(str.isdigit, run))
    return min(digits, len(run) - digits) >= MIN_HEX_OF_EACH
