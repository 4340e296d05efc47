"""Who listens at the other end of a Unix connection, as the kernel tells it, and who may."""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from briefcase.model.errors import ConfigError

ROOT_UID: Final = 0

_UID: Final = re.compile(r"[0-9]{1,10}")
_UCRED: Final = struct.Struct("i2I")  # pid, uid, gid: unix(7), SO_PEERCRED; uids go up to 2^32-2
_NO_UID: Final = 2**32 - 1  # the kernel noted nobody
_XUCRED: Final = struct.Struct("2I")  # version, uid, then groups: macOS sys/ucred.h, LOCAL_PEERCRED
_SOL_LOCAL: Final = 0
_LOCAL_PEERCRED: Final = 1


def peer_uid(sock: socket.socket) -> int | None:
    """The user at the other end of a Unix connection, as the kernel noted at `connect`; None where it does not say."""
    try:
        if sys.platform == "darwin":
            data = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size)
            return int(_XUCRED.unpack(data)[1])
        data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        uid = int(_UCRED.unpack(data)[1])
    except (AttributeError, OSError, struct.error):
        return None
    return None if uid == _NO_UID else uid


def expected_uids(environ: Mapping[str, str], directory: Path) -> frozenset[int]:
    """Who may listen at the daemon's socket: the owner of the data directory, root, and `BRIEFCASE_DAEMON_UID`.

    Args:
        environ: the process's variables.
        directory: the data directory.

    Raises:
        ConfigError: the variable is no uid.
    """
    named = environ.get("BRIEFCASE_DAEMON_UID")
    if named and not _UID.fullmatch(named):
        raise ConfigError(f"`BRIEFCASE_DAEMON_UID`: expected a numeric uid, got `{named}`")
    try:
        owner = directory.stat().st_uid
    except OSError:
        owner = os.geteuid()  # no directory in sight: this user's own daemon would make it
    return frozenset({ROOT_UID, owner, int(named)} if named else {ROOT_UID, owner})
