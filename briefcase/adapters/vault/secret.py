"""`Secret`: bytes that do not print.

It is a `bytes`, so it goes wherever bytes go (an HMAC, a header under construction), but whatever turns a *value*
into text by itself shows `[secret]`: `repr`, `str`, f-strings, `%s`, logging, tracebacks that show locals. What would
serialise it fails: `pickle`, `copy`, `json`, `orjson`, `msgspec`. Taking the bytes out is always a visible step:
`.decode()`, `bytes(...)`, concatenation.
"""

from __future__ import annotations

from typing import Final, NoReturn, SupportsIndex

SHOWN: Final = "[secret]"


class Secret(bytes):
    """A secret value. Equality and hash are those of its bytes: compare with `hmac.compare_digest`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return SHOWN

    def __str__(self) -> str:
        return SHOWN

    def __format__(self, _spec: str) -> str:
        return SHOWN

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a secret is not copied, pickled or sent to another process")
