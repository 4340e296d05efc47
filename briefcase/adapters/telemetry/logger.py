"""structlog without `rich`: every module of ours that logs takes its logger from here.

structlog imports `rich` wherever it is installed, to colour a terminal. Our lines are JSON, so each program would pay
for what it never shows. The CLI, which draws its tables with `rich`, imports it by itself when it has one to draw.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType


class Hidden:
    """A finder (Python reference, 5.4) that answers for one package as if it were not installed; what is loaded stays.

    Args:
        name: the package.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /) -> None:
        """Leave every other package to the finders behind this one.

        Raises:
            ModuleNotFoundError: it is the hidden package.
        """
        if fullname == self._name:
            raise ModuleNotFoundError(f"`{fullname}` is hidden while its user is loaded", name=fullname)


HIDDEN = Hidden("rich")
sys.meta_path.insert(0, HIDDEN)
try:
    import structlog
    from structlog.typing import Processor
finally:
    sys.meta_path.remove(HIDDEN)

get_logger = structlog.get_logger

__all__ = ["Processor", "get_logger", "structlog"]
