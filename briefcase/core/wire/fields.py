"""What fields of several documents have in common: one may be left out, one is a hash, one a number JSON holds."""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

import msgspec

from briefcase.model.types import MAX_SAFE_INTEGER

_T = TypeVar("_T")

Maybe: TypeAlias = _T | msgspec.UnsetType | None
"""A field that the daemon leaves out where it has nothing to say; a null is read as that, too."""

Natural = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
HashHex = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


def given(value: Maybe[_T], otherwise: _T) -> _T:
    """A field that may be left out, or what stands for it."""
    return otherwise if value is None or isinstance(value, msgspec.UnsetType) else value
