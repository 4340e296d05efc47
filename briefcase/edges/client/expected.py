"""Who answers at the daemon's address, checked on each new connection before a token leaves.

Anybody may listen at a path in a shared directory, or at a port, while the daemon is down. So:

 - over a Unix socket, the uid of the process that listens, as the kernel tells it: it must be the owner of the data
   directory, root, or `BRIEFCASE_DAEMON_UID`
 - over TCP, a signature over our nonce and the address that we are connected to (`proof.py`), by the key that
   `BRIEFCASE_DAEMON_DID` names, else the did in the data directory

Where no did is known, a daemon cannot be checked over TCP: the token file stays here, and a token that the user gave
by `BRIEFCASE_AUTH_TOKEN`, together with the address, goes with one line of warning.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from briefcase.adapters.disk.data_dir import DAEMON_DID_FILE
from briefcase.adapters.disk.files import read_private
from briefcase.adapters.peers import expected_uids, peer_uid
from briefcase.model.errors import BriefcaseError, ConfigError

MAX_DID_BYTES: Final = 256
_DID: Final = re.compile(r"did:key:z[1-9A-HJ-NP-Za-km-z]{40,80}")


class ExpectedDaemon(msgspec.Struct, frozen=True):
    """Who may answer.

    `uids` may listen at a Unix socket. `did` must prove itself over TCP; None where no did is known. `is_pinned` says
    that the user named the did, `takes_unproven` that the user gave the token by hand. `fault` is why the did in the
    data directory is unreadable, which stops who connects over TCP and nobody else.
    """

    uids: frozenset[int]
    did: str | None = None
    is_pinned: bool = False
    takes_unproven: bool = False
    fault: BriefcaseError | None = None

    def check_socket(self, sock: socket.socket, path: str) -> None:
        """Check the process at the other end of a Unix connection.

        Raises:
            BriefcaseError: it runs as a user that is not expected, or the system does not tell (`untrusted_daemon`).
        """
        uid = peer_uid(sock)
        if uid is not None and uid in self.uids:
            return
        wanted = " or ".join(str(one) for one in sorted(self.uids))
        found = "a process whose uid the system does not tell" if uid is None else f"uid {uid}"
        raise untrusted(
            f"expected the daemon at `{path}` to run as uid {wanted}, got {found}",
            hint="where that user runs the daemon on purpose, set BRIEFCASE_DAEMON_UID to its uid",
        )


def expected_daemon(environ: Mapping[str, str], data_dir: Callable[[], Path]) -> ExpectedDaemon:
    """Who may answer in this environment.

    Args:
        environ: the process's variables.
        data_dir: gives the data directory that they name.

    Raises:
        ConfigError: a variable is not as expected.
    """
    pinned = environ.get("BRIEFCASE_DAEMON_DID") or None
    if pinned is not None and not _DID.fullmatch(pinned):
        raise ConfigError(f"`BRIEFCASE_DAEMON_DID`: expected a did such as `did:key:z6Mk…`, got `{pinned}`")
    directory = data_dir()
    did, fault = pinned, None
    try:
        did = pinned or _did_in(directory)
    except BriefcaseError as error:  # over a Unix socket the uid says enough
        fault = error
    return ExpectedDaemon(
        uids=expected_uids(environ, directory),
        did=did,
        fault=fault,
        is_pinned=pinned is not None,
        takes_unproven=bool(environ.get("BRIEFCASE_AUTH_TOKEN")),
    )


def untrusted(problem: str, hint: str) -> BriefcaseError:
    """The error of a daemon that is not the one expected."""
    return BriefcaseError(f"{problem}; no token was sent", code="untrusted_daemon", hint=hint)


def warn_unproven(address: str, problem: str) -> None:
    """Tell the user, in one line, that a token goes to a daemon that proved nothing."""
    sys.stderr.write(  # standard output is the command's own
        f"briefcase: warning: {problem}; the token of BRIEFCASE_AUTH_TOKEN goes to {address} all the same"
        " (set BRIEFCASE_DAEMON_DID to what `briefcase identity show` prints beside the daemon)\n"
    )


def _did_in(directory: Path) -> str | None:
    """The did that the daemon wrote into its data directory; None where no file is in sight."""
    path = directory / DAEMON_DID_FILE
    if not os.access(path, os.R_OK):
        return None
    did = (read_private(path, max_bytes=MAX_DID_BYTES) or b"").decode("ascii", "replace").strip()
    if not _DID.fullmatch(did):
        raise ConfigError(
            f"expected `{path}` to hold the daemon's `did:key`", hint="restart the daemon: it writes the file anew"
        )
    return did
