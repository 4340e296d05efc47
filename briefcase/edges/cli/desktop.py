"""Desktop notifications of `approvals watch --notify`, by the desktop's own `notify-send`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from briefcase.core.wire.approvals import ApprovalRecord
from briefcase.edges.notifier.wording import MAX_NAME_CHARS, harmless
from briefcase.model.errors import CallerError

PROGRAM: Final = "notify-send"
PAUSE_MS: Final = 5_000  # between two of them: a flood is one
TIMEOUT_S: Final = 2.0
MAX_NAMED: Final = 3
_SESSIONS: Final = ("DBUS_SESSION_BUS_ADDRESS", "WAYLAND_DISPLAY", "DISPLAY")


class Desktop:
    """Shows what began to wait, each call once.

    Args:
        environ: says whether there is a desktop, and where programs are.

    Raises:
        CallerError: there is no desktop here, or no `notify-send`.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        if not any(environ.get(name) for name in _SESSIONS):
            raise CallerError(
                "there is no desktop to notify here: expected one of " + ", ".join(f"`{name}`" for name in _SESSIONS),
                hint="`briefcase notifier` tells people elsewhere",
            )
        program = shutil.which(PROGRAM, path=environ.get("PATH"))
        if program is None:
            raise CallerError(
                f"expected the program `{PROGRAM}`, which is not installed",
                hint="install libnotify (`apt-get install libnotify-bin`), or see `briefcase notify add`",
            )
        self._program = program
        self._told: set[str] = set()
        self._last_ms: int | None = None

    def tell(self, waiting: Sequence[ApprovalRecord], now_ms: int) -> None:
        """Show what waits and was not shown yet; at most once in `PAUSE_MS`, the rest together later."""
        new = [one for one in waiting if one.id not in self._told]
        if not new or (self._last_ms is not None and now_ms - self._last_ms < PAUSE_MS):
            return
        self._told, self._last_ms = {one.id for one in waiting}, now_ms
        self._show(*_words_of(new))

    def _show(self, title: str, body: str) -> None:
        """Run the program without waiting for more than it takes; a desktop that fails is no reason to stop."""
        try:
            subprocess.run(
                [self._program, "--app-name=briefcase", "--", title, body],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return


def _words_of(new: Sequence[ApprovalRecord]) -> tuple[str, str]:
    names = [f"{harmless(one.principal, MAX_NAME_CHARS)}: {harmless(one.tool_id, MAX_NAME_CHARS)}" for one in new]
    if len(new) == 1:
        return "briefcase: a call waits for you", f"{names[0]}\n{harmless(new[0].reason)}"
    more = [] if len(names) <= MAX_NAMED else [f"and {len(names) - MAX_NAMED} more"]
    return f"briefcase: {len(new)} calls wait for you", "\n".join([*names[:MAX_NAMED], *more])
