"""`briefcase hook CLIENT`: one event from standard input to the daemon, and its answer to standard output.

 1. from here on every end but an answer is exit 2, which blocks the call at every client; signals too
 2. the client, the agent's token, and where the daemon is
 3. the event, of at most `MAX_EVENT_BYTES`
 4. who listens: over a Unix socket as the kernel tells it, over loopback TCP by the daemon's own proof
 5. the event goes out, and one whole answer comes back in time
 6. a 200 with one JSON object is printed, as it is: exit 0

It is started before each tool call, so it loads no framework and speaks HTTP/1.1 by itself: one request, one answer
framed by its length, and the end (docs/adr/0048). Nothing is sent twice.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import IO, Final, NamedTuple, NoReturn

from briefcase.adapters.disk.data_dir import data_dir_of, path_of, socket_path_of
from briefcase.adapters.disk.files import read_private
from briefcase.adapters.peers import expected_uids, peer_uid
from briefcase.model.errors import BriefcaseError, CallerError, ConfigError

BLOCKED: Final = 2
MAX_EVENT_BYTES: Final = 8 << 20
MAX_ANSWER_BYTES: Final = 1 << 20
MAX_TOKEN_BYTES: Final = 512
MAX_DIGITS: Final = 7
TIMEOUTS_MS: Final = {  # below what each client gives a hook by default: past that it lets the call go on
    "claude-code": 590_000,
    "codex": 590_000,
    "gemini": 55_000,
    "cursor": 55_000,
    "copilot": 28_000,
}
USAGE: Final = f"usage: briefcase hook {'|'.join(TIMEOUTS_MS)} [--token-file PATH] [--timeout-ms N]"

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_END_OF_HEAD: Final = b"\r\n\r\n"
_OK_LINE: Final = b"HTTP/1.1 200 OK\r\n"


class Asked(NamedTuple):
    """What the command line asks for."""

    client: str
    token_file: str
    timeout_ms: int


class Place(NamedTuple):
    """Where the daemon is: a Unix socket, or a loopback host and port."""

    socket_path: str = ""
    host: str = ""
    port: int = 0


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Ask the daemon about the event on standard input; gives the exit code.

    Args:
        words: the command line after `briefcase hook`.
        environ: the process's variables.
    """
    # 1. every other end blocks
    for number in _SIGNALS:
        signal.signal(number, _blocked_by_signal)
    try:
        answer = _asked(words, environ, sys.stdin.buffer)
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the call may not run
        _block(_words_of(error))
    return 0


def parse_words(words: Sequence[str]) -> Asked:
    """Read the command line.

    Raises:
        CallerError: it asks for no client, or for what this command does not know.
    """
    client, options = "", {"--token-file": "", "--timeout-ms": ""}
    rest = iter(words)
    for word in rest:
        name, is_set, value = word.partition("=")
        if name in options:
            options[name] = value if is_set else next(rest, "")
        elif word in TIMEOUTS_MS and not client:
            client = word
        else:
            raise CallerError(f"unexpected `{word}`; {USAGE}")
    if not client:
        raise CallerError(USAGE)
    timeout = options["--timeout-ms"]
    if timeout and not (timeout.isascii() and timeout.isdigit() and len(timeout) <= MAX_DIGITS and int(timeout)):
        raise CallerError(f"expected --timeout-ms as milliseconds, got `{timeout}`")
    return Asked(client, options["--token-file"], int(timeout or TIMEOUTS_MS[client]))


def _asked(words: Sequence[str], environ: Mapping[str, str], source: IO[bytes]) -> bytes:
    # 2. what is asked, for whom, and where
    asked = parse_words(words)
    signal.setitimer(signal.ITIMER_REAL, asked.timeout_ms / 1_000)  # of all of it, reading the event too
    deadline_s = time.monotonic() + asked.timeout_ms / 1_000
    token, place = _token(asked.token_file, environ), _place(environ)

    # 3. the event
    event = source.read(MAX_EVENT_BYTES + 1)
    if len(event) > MAX_EVENT_BYTES:
        raise CallerError(f"expected an event of at most {MAX_EVENT_BYTES} bytes")

    # 4. who listens
    with _connected(place, environ, deadline_s) as connection:
        # 5. one request, one answer
        head = (
            f"POST /v1/hooks/{asked.client} HTTP/1.1\r\nhost: {_authority_of(place)}\r\n"
            f"authorization: Bearer {token}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(event)}\r\nconnection: close\r\n\r\n"
        )
        status_is_ok, body = _exchanged(connection, head.encode("ascii") + event, deadline_s)

    # 6. one JSON object
    answer = _object_of(body)
    if not status_is_ok:
        raise ConfigError(f"the daemon answered `{answer.get('code')}`: {answer.get('message')}")
    return body


def _token(token_file: str, environ: Mapping[str, str]) -> str:
    if token_file:
        path = path_of(token_file, "--token-file", environ)
        data = read_private(path, max_bytes=MAX_TOKEN_BYTES)
        if data is None:
            raise ConfigError(f"`{path}` is not there")
        token = data.decode("ascii", "replace").strip()
    else:
        token = environ.get("BRIEFCASE_AUTH_TOKEN", "")
    if not token:
        raise ConfigError("no token: give --token-file PATH, or set BRIEFCASE_AUTH_TOKEN")
    if not all("!" <= character <= "~" for character in token):
        raise ConfigError("expected the token in printable ASCII")
    return token


def _place(environ: Mapping[str, str]) -> Place:
    """As the command line finds the daemon (`cli/client.py`)."""
    named = environ.get("BRIEFCASE_DAEMON_UNIX_SOCKET")
    if named:
        return Place(str(path_of(named, "BRIEFCASE_DAEMON_UNIX_SOCKET", environ)))
    base_url = environ.get("BRIEFCASE_DAEMON_BASE_URL")
    if not base_url:
        return Place(str(socket_path_of(environ)))
    scheme, _, authority = base_url.rstrip("/").partition("://")
    host, _, port = authority.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if scheme != "http" or host not in _LOOPBACK or not (port.isascii() and port.isdigit()):
        raise ConfigError(f"`BRIEFCASE_DAEMON_BASE_URL`: expected `http://127.0.0.1:PORT`, got `{base_url}`")
    return Place(host=host, port=int(port))


def _connected(place: Place, environ: Mapping[str, str], deadline_s: float) -> socket.socket:
    """A connection to the daemon, and to nobody else.

    Raises:
        ConfigError: somebody else listens there.
        OSError: nobody does.
    """
    if not place.socket_path:
        connection = socket.create_connection((place.host, place.port), _left_s(deadline_s))
        _check_proof(connection, place, environ, deadline_s)
        return connection
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_left_s(deadline_s))
    connection.connect(place.socket_path)
    uid = peer_uid(connection)
    if uid is None or uid not in expected_uids(environ, data_dir_of(environ)):
        raise ConfigError(f"`{place.socket_path}` is not served by the daemon's user; no token was sent")
    return connection


def _authority_of(place: Place) -> str:
    if place.socket_path:
        return "localhost"
    return f"[{place.host}]:{place.port}" if ":" in place.host else f"{place.host}:{place.port}"


def _exchanged(connection: socket.socket, request: bytes, deadline_s: float) -> tuple[bool, bytes]:
    """Send a request; gives whether the answer is a 200, and its body.

    Raises:
        ConfigError: what comes back is no whole answer.
        OSError: it does not come in time, or the connection ends.
    """
    connection.settimeout(_left_s(deadline_s))
    connection.sendall(request)
    data = b""
    while _END_OF_HEAD not in data:
        data += _more(connection, len(data), deadline_s)
    head, _, body = data.partition(_END_OF_HEAD)
    length = _length_of(head)
    while len(body) < length:
        body += _more(connection, len(body), deadline_s)
    if len(body) != length:
        raise ConfigError("expected one answer from the daemon, got more")
    return (head + b"\r\n").startswith(_OK_LINE), body


def _more(connection: socket.socket, size: int, deadline_s: float) -> bytes:
    connection.settimeout(_left_s(deadline_s))
    piece = connection.recv(1 << 16)
    if not piece or size + len(piece) > MAX_ANSWER_BYTES:
        raise ConfigError("expected a whole answer from the daemon, got less or too much")
    return piece


def _length_of(head: bytes) -> int:
    """The length of the body; the daemon frames each answer by it, once."""
    lengths = []
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"transfer-encoding":
            raise ConfigError("expected an answer framed by its length")
        if name.strip().lower() == b"content-length":
            lengths.append(value.strip())
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_DIGITS:
        raise ConfigError("expected an answer framed by its length")
    return int(lengths[0])


def _object_of(body: bytes) -> dict[str, object]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise ConfigError("expected one JSON object from the daemon, got something else")
    return answer


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the daemon did not answer in time")
    return left_s


def _check_proof(connection: socket.socket, place: Place, environ: Mapping[str, str], deadline_s: float) -> None:
    """Have the daemon prove itself on this very connection, as to every client over TCP.

    This loads what a Unix socket can do without.

    Raises:
        BriefcaseError: no token may go there.
    """
    from briefcase.edges.client.expected import expected_daemon
    from briefcase.edges.client.proof import PROOF_PATH, Proof

    authority = _authority_of(place)
    proof = Proof(expected_daemon(environ, lambda: data_dir_of(environ)), authority)
    head = (
        f"POST {PROOF_PATH} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(proof.body)}\r\n\r\n"
    )
    is_ok, body = _exchanged(connection, head.encode("ascii") + proof.body, deadline_s)
    proof.check(body if is_ok else b"")


def _words_of(error: BaseException) -> str:
    if isinstance(error, BriefcaseError):
        return error.message
    if isinstance(error, TimeoutError):
        return "the daemon did not answer in time"
    if isinstance(error, OSError):
        return f"the daemon does not answer ({error.strerror or error}): start it with `briefcase up`"
    return f"the hook failed ({type(error).__name__})"


def _blocked_by_signal(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    _block(f"the hook was ended by {signal.Signals(number).name}")


def _block(problem: str) -> NoReturn:
    """End so that every client blocks the call; at once, whatever is under way."""
    try:
        os.write(2, f"briefcase: {problem}. The call is blocked.\n".encode("utf-8", "replace"))
    finally:
        os._exit(BLOCKED)
