"""The command line's client of the daemon: one HTTP request at a time over the Unix socket, or loopback TCP.

Where the daemon is, first match: `BRIEFCASE_DAEMON_UNIX_SOCKET`, `BRIEFCASE_DAEMON_BASE_URL`, the socket a daemon with
this very environment would listen on. The token: `BRIEFCASE_AUTH_TOKEN`, else the data directory's `auth_token`; it
leaves only after the daemon on the other end is the one expected (`client/expected.py`).
Nothing is retried: a call may have run even where its answer was lost, and the error says so.
"""

from __future__ import annotations

import http.client
import re
import select
import socket
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import orjson

from briefcase.adapters.disk.data_dir import OPERATOR_TOKEN_FILE, named_path
from briefcase.adapters.store.tokens import load_token, named_token
from briefcase.core.jose.identity_proof import authority_of
from briefcase.core.wire.errors import ErrorAnswer
from briefcase.core.wire.reading import Kind, read_answer, read_document
from briefcase.edges.cli.late import daemon_proof
from briefcase.edges.cli.messages import note
from briefcase.edges.client.expected import ExpectedDaemon
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CODES, BriefcaseError, CallerError, ConfigError
from briefcase.model.types import JsonObject

CONNECT_TIMEOUT_S: Final = 5.0
FULL_QUEUE_PAUSE_S: Final = 0.005
SILENT_AFTER_S: Final = 1.0  # with the probe, a daemon that hangs is named within two seconds, by every command
PROBE_S: Final = 0.4
SOON_S: Final = 5.0
MAX_PROOF_BYTES: Final = 4_096
LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
NOT_OFFERED: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
HTTP_ERROR_FROM: Final = HTTPStatus.BAD_REQUEST
START_HINT: Final = "start it with `briefcase up`"
_PERHAPS_DONE: Final = "it may have been done all the same: see `briefcase receipts list`"

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_TIMING: Final = re.compile(r"(?<![\w-])([\w-]++)\s*+;\s*+dur=([0-9.]+)")  # W3C Server Timing, as the daemon writes it
_CODE_OF_STATUS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "unauthorized",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.CONFLICT: "conflict",
    HTTPStatus.SERVICE_UNAVAILABLE: "not_ready",
}

_T = TypeVar("_T")


class Address(NamedTuple):
    """Where a daemon listens: a Unix socket, or a loopback host and port."""

    socket_path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return self.socket_path or f"http://{self.host}:{self.port}"


class _Answer(NamedTuple):
    """What came back, before anything is made of it."""

    status: int
    server_timing: str
    body: bytes


class DaemonError(BriefcaseError):
    """An error the daemon answered, under its own code. `request_id` finds it in the daemon's log."""

    def __init__(self, message: str, *, code: str, hint: str, request_id: str) -> None:
        super().__init__(message, code=code, hint=hint)
        self.request_id = request_id


class Client:
    """Requests to one daemon, each on a connection of its own.

    Args:
        address: where it listens.
        expected: gives who may answer there; asked for with the first request.
        token: gives the bearer token; asked for only once the expected daemon answers.
        timeout_s: how long one answer may take.
        sign: gives the headers that sign a change, from its method and path, and its body.
    """

    def __init__(
        self,
        address: Address,
        expected: Callable[[], ExpectedDaemon],
        token: Callable[[], str],
        *,
        timeout_s: float,
        sign: Callable[[str, bytes], dict[str, str]] | None = None,
    ) -> None:
        self.address = address
        self._expected = expected
        self._token = token
        self._timeout_s = timeout_s
        self._sign = sign

    def get(self, path: str, kind: Kind[_T], /, **query: str | int | None) -> Reply[_T]:
        """Read; parameters that are None are left out. Raises as `request`."""
        given = {name: value for name, value in query.items() if value is not None}
        try:
            asked = f"{path}?{urlencode(given)}" if given else path
        except UnicodeEncodeError:
            raise _not_sendable() from None
        return self.request("GET", asked, kind)

    def post(self, path: str, kind: Kind[_T], body: object = None) -> Reply[_T]:
        """Act; without a body where the endpoint has no fields. Raises as `request`."""
        return self.request("POST", path, kind, body)

    def put(self, path: str, kind: Kind[_T], body: object) -> Reply[_T]:
        """Put something in a place. Raises as `request`."""
        return self.request("PUT", path, kind, body)

    def delete(self, path: str, kind: Kind[_T]) -> Reply[_T]:
        """Take something out of its place. Raises as `request`."""
        return self.request("DELETE", path, kind)

    def request(self, method: str, path: str, kind: Kind[_T], body: object = None) -> Reply[_T]:
        """Send one request and read its answer.

        Args:
            method: of the request.
            path: with its query.
            kind: what the endpoint answers.
            body: becomes JSON; None where the request has none.

        Raises:
            DaemonError: the daemon answered an error.
            CallerError: the body holds what JSON cannot.
            BriefcaseError: no daemon there (`daemon_unreachable`), another than the one expected
                (`untrusted_daemon`), no answer in time (`request_timeout`), no token (`unauthorized`), or an answer
                that is not of this kind (`unexpected_answer`).
        """
        answer, endpoint = self._asked(method, path, body), f"{method} {path.partition('?')[0]}"
        try:
            read = read_answer(answer.body, kind, endpoint)
        except BriefcaseError:
            self._object_of(answer, endpoint)  # what answers no JSON object is no daemon of another version
            raise
        return Reply(read, answer.body, endpoint, parse_server_timing(answer.server_timing))

    def document(self, method: str, path: str) -> JsonObject:
        """Read an answer to be kept as it came, whatever it is. Raises as `request`."""
        return self._object_of(self._asked(method, path, None), f"{method} {path}")

    def text(self, path: str) -> str:
        """Read what is no JSON. Raises as `request`."""
        return self._asked("GET", path, None).body.decode("utf-8", "replace")

    def _asked(self, method: str, path: str, body: object) -> _Answer:
        """The answer of a success."""
        try:
            data = None if body is None else orjson.dumps(body)
        except TypeError:
            raise _not_sendable() from None
        answer = self._ask(method, path, data)
        if answer.status >= HTTP_ERROR_FROM:
            if answer.body or answer.status not in NOT_OFFERED:
                self._object_of(answer, path)
            raise _error_of(answer, f"{method} {path.partition('?')[0]}")
        return answer

    def _ask(self, method: str, path: str, data: bytes | None) -> _Answer:
        connection = _Connection(self.address, self._timeout_s)
        try:
            connection.connect()
            _check_daemon(connection, self._expected())
            token = self._token()
            headers = {"Authorization": f"Bearer {token}"} if token else {}  # a signer's device has none
            if data is not None:
                headers["Content-Type"] = "application/json"
            if self._sign is not None and method != "GET":
                headers.update(self._sign(f"{method} {path}", data or b""))
            return _exchange(connection, method, path, data, headers, on_sent=_name_silence)
        finally:
            connection.close()

    def _object_of(self, answer: _Answer, endpoint: str) -> JsonObject:
        """The JSON object that every answer is, an error's too. Raises `BriefcaseError` where it is none."""
        try:
            return read_document(answer.body, endpoint)
        except BriefcaseError:
            raise _no_daemon(self.address, "what is no JSON object") from None


def path_of(*parts: str) -> str:
    """A request path whose parts may hold anything: each is percent-encoded whole."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def address_of(environ: Mapping[str, str], default_socket: Callable[[], Path]) -> Address:
    """Where this environment's daemon listens.

    Raises:
        ConfigError: a variable's value is not as expected.
    """
    if environ.get("BRIEFCASE_DAEMON_NAMED_PIPE"):
        raise ConfigError(
            "`BRIEFCASE_DAEMON_NAMED_PIPE` names a pipe, but this system has Unix sockets",
            hint="set BRIEFCASE_DAEMON_UNIX_SOCKET instead",
        )
    named = named_path(environ, "BRIEFCASE_DAEMON_UNIX_SOCKET")
    if named is not None:
        return Address(socket_path=str(named))
    base_url = environ.get("BRIEFCASE_DAEMON_BASE_URL")
    if base_url:
        return _parse_base_url(base_url)
    return Address(socket_path=str(default_socket()))


def token_of(environ: Mapping[str, str], data_dir: Callable[[], Path]) -> str:
    """The bearer token to use.

    Raises:
        ConfigError: the variable or the file holds no token, or the file is not private.
        CallerError: there is none (`unauthorized`).
    """
    named = named_token(environ)
    if named:
        if not _TOKEN.fullmatch(named):
            raise ConfigError("`BRIEFCASE_AUTH_TOKEN`: expected one token of visible ASCII characters")
        return named
    path = data_dir() / OPERATOR_TOKEN_FILE
    token = load_token(path)
    if token is None:
        raise CallerError(
            f"expected a token in `{path}`, got no such file",
            code="unauthorized",
            hint="set BRIEFCASE_DATA_DIR to the daemon's data directory, or BRIEFCASE_AUTH_TOKEN to a token",
        )
    return token


def parse_server_timing(header: str) -> tuple[tuple[str, int], ...]:
    """Each phase and its microseconds, in the header's order."""
    return tuple((name, round(float(dur) * 1_000)) for name, dur in _TIMING.findall(header))


def _not_sendable() -> CallerError:
    """The error of what JSON cannot hold: bytes that are no UTF-8, a number past 64 bits. It may be a secret."""
    return CallerError(
        "expected text in UTF-8 and numbers of at most 64 bits, got others",
        hint="look at the arguments: names and paths are sent as text",
    )


class _Connection(http.client.HTTPConnection):
    """`http.client` over either kind of address; a connection that was lost is not made anew: it would be unchecked."""

    auto_open = 0

    def __init__(self, address: Address, timeout_s: float) -> None:
        super().__init__(address.host or "localhost", address.port or None)
        self.address = address
        self.timeout_s = timeout_s

    def connect(self) -> None:
        address = self.address
        family = socket.AF_UNIX if address.socket_path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        try:
            self._reach(address.socket_path or (address.host, address.port))
        except BlockingIOError:
            raise BriefcaseError(
                f"`{address}`: more connections wait than the daemon takes",
                code="daemon_unreachable",
                hint="try again; see which processes connect to it",
            ) from None
        except PermissionError:
            raise CallerError(
                f"this user may not open `{address}`",
                code="forbidden",
                hint="run as the daemon's own user, or come by the agents' socket",
            ) from None
        except OSError as error:
            raise BriefcaseError(
                f"no daemon answers at `{address}`",
                code="daemon_unreachable",
                hint=START_HINT,
                detail=str(error),
            ) from None
        self.sock.settimeout(self.timeout_s)

    def _reach(self, place: str | tuple[str, int]) -> None:
        """Connect; where the queue of a Unix socket is full, which is said at once, until there is a place in it."""
        began_s = time.monotonic()
        is_named = False
        while True:
            try:
                self.sock.connect(place)
            except BlockingIOError:
                waited_s = time.monotonic() - began_s
                if waited_s > CONNECT_TIMEOUT_S:
                    raise
                if waited_s > SILENT_AFTER_S and self.timeout_s > SILENT_AFTER_S and not is_named:
                    is_named = True
                    note(f"the daemon at `{self.address}` takes no connection; waiting for it")
                time.sleep(FULL_QUEUE_PAUSE_S)
            else:
                return


def _check_daemon(connection: _Connection, expected: ExpectedDaemon) -> None:
    """Check who answers on a new connection, before it carries a token. Raises as `Client.request`."""
    address = connection.address
    if address.socket_path:
        expected.check_socket(connection.sock, address.socket_path)
        return
    try:
        peer = connection.sock.getpeername()
    except OSError:
        raise _no_daemon(address, "nothing: the connection was closed at once") from None
    proof = daemon_proof.Proof(expected, authority_of(*peer[:2]))
    answer = _Answer(0, "", b"")
    if expected.did is not None:
        # Nobody knows yet who answers: a stranger gets neither our memory nor our time.
        connection.sock.settimeout(CONNECT_TIMEOUT_S)
        headers = {"Content-Type": "application/json"}
        answer = _exchange(
            connection,
            "POST",
            daemon_proof.PROOF_PATH,
            proof.body,
            headers,
            max_bytes=MAX_PROOF_BYTES,
            on_sent=_name_silence,
        )
    proof.check(answer.body)
    if connection.sock is not None:  # a stranger may have closed it
        connection.sock.settimeout(connection.timeout_s)


def _exchange(
    connection: _Connection,
    method: str,
    path: str,
    data: bytes | None,
    headers: dict[str, str],
    *,
    max_bytes: int | None = None,
    on_sent: Callable[[_Connection], None] = lambda _: None,
) -> _Answer:
    try:
        connection.request(method, path, body=data, headers=headers)
        on_sent(connection)
        response = connection.getresponse()
        return _Answer(response.status, response.headers.get("Server-Timing", ""), response.read(max_bytes))
    except TimeoutError:
        raise BriefcaseError(
            "the daemon did not answer in time",
            code="request_timeout",
            hint="look at its log" if method == "GET" else f"look at its log; {_PERHAPS_DONE}",
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise BriefcaseError(
            "the connection broke before the answer",
            code="daemon_unreachable",
            hint=START_HINT if method == "GET" else _PERHAPS_DONE,
            detail=repr(error),
        ) from None


def _name_silence(connection: _Connection) -> None:
    """Say that the daemon hangs, where it neither answers soon nor tells meanwhile that it is well.

    Raises:
        TimeoutError: it hangs, and whoever asked would give up soon anyway.
    """
    if connection.timeout_s <= SILENT_AFTER_S:
        return
    is_answered, _, _ = select.select([connection.sock], [], [], SILENT_AFTER_S)
    if is_answered or _is_well(connection.address):
        return
    if connection.timeout_s <= SOON_S:
        raise TimeoutError
    note(
        f"the daemon at `{connection.address}` takes connections, and does not answer;"
        f" waiting for it, up to {connection.timeout_s:g} s"
    )


def _is_well(address: Address) -> bool:
    """Whether a daemon answers the one question that costs it nothing."""
    probe = _Connection(address, PROBE_S)
    try:
        probe.connect()
        probe.request("GET", "/health")
        probe.getresponse()
    except (BriefcaseError, OSError, http.client.HTTPException):
        return False
    finally:
        probe.close()
    return True


def _no_daemon(address: Address, got: str) -> BriefcaseError:
    return BriefcaseError(
        f"expected a briefcase daemon at `{address}`, got an answer of {got}",
        code="daemon_unreachable",
        hint="check BRIEFCASE_DAEMON_BASE_URL and BRIEFCASE_DAEMON_UNIX_SOCKET",
    )


def _error_of(answer: _Answer, endpoint: str) -> DaemonError:
    """The daemon's error; what it does not say, and a code not known here, is what its status says."""
    status = answer.status
    if not answer.body and status in NOT_OFFERED:  # how other daemons of the contract refuse a path they do not have
        message = f"the daemon does not offer `{endpoint}`"
        hint = "the command needs a daemon of this program's: see `briefcase identity show`"
        return DaemonError(message, code="not_found", hint=hint, request_id="")
    try:
        told = read_answer(answer.body, ErrorAnswer, "")
    except BriefcaseError:
        told = ErrorAnswer()
    code, message = told.code, told.message or f"the daemon answered status {status}"
    if code not in CODES:
        fallback = "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request"
        message = f"{message} (`{code}`)" if code else message
        code = _CODE_OF_STATUS.get(status, fallback)
    return DaemonError(message, code=code, hint=told.hint or "", request_id=told.request_id)


def _parse_base_url(text: str) -> Address:
    problem = f"`BRIEFCASE_DAEMON_BASE_URL`: expected `http://127.0.0.1:PORT`, got `{text}`"
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port or 80
    except ValueError:
        raise ConfigError(problem) from None
    if url.scheme != "http" or url.path.strip("/") or url.query or url.fragment or url.username is not None:
        raise ConfigError(problem)
    if host not in LOOPBACK_HOSTS:
        raise ConfigError(problem, hint="the token is sent in clear text: only a loopback address is accepted")
    return Address(host="127.0.0.1" if host == "localhost" else host, port=port)
