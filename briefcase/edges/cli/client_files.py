"""A client's own list of MCP servers, as its file keeps it, as descriptions for the daemon.

| client | where the servers are | what is its own |
|---|---|---|
| Claude Desktop, Claude Code, Cursor | `mcpServers` | `url`, `serverUrl`, `httpUrl`; `${VAR}`, `${env:VAR}` |
| VS Code | `servers`, in settings below `mcp` | `${input:ID}`, `${env:VAR}` |
| Zed | `context_servers` | a command as `{path, args, env}`; `enabled` |

The files may hold comments and commas before a closing bracket. What is a secret goes into the vault and is named in
the description: the value of a variable or a header whose name says so (`SECRET_NAME`), or that looks like one. What
cannot be carried is left out with its reason. Nothing here does I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from briefcase.core.json.strict import parse as parse_json
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject, JsonValue

GROUPS: Final = ("mcpServers", "servers", "context_servers")
URLS: Final = ("url", "serverUrl", "httpUrl")
SECRET_NAME: Final = re.compile(
    r"(?i)api[_-]?key|token(?:$|[_-])|secret|passw|credential|^authorization$"
    r"|(?:^|[_-])(?:auth|cookie|dsn|key|pat)(?:$|[_-])"
)
MAX_ID_CHARS: Final = 32
MAX_SECRET_CHARS: Final = 64

_ISSUED: Final = re.compile(  # prefixes that issuers publish
    r"(?<![A-Za-z0-9])(?:AIza|AKIA|ASIA|bc[ao]_|eyJ|figd_|gh[opsu]_|github_pat_|glpat-|ntn_|sk-|xox[abpr]-)[A-Za-z0-9_-]{10,}"
)
_LOGIN: Final = re.compile(r"://[^/@\s:]*:[^/@\s]+@")  # a password in an address
_RUN: Final = re.compile(r"(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])(?=[^0-9]*[0-9])[A-Za-z0-9_]{24,}")
_WORDS: Final = re.compile(r"[^A-Za-z0-9_]+")
# a string or a comment that does not end takes the rest: read once
_COMMENT: Final = re.compile(rb'"(?:[^"\\]|\\.?)*+"?|//[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/)?', re.DOTALL)
_LAST_COMMA: Final = re.compile(rb'"(?:[^"\\]|\\.?)*+"?|,(?=\s*[}\]])', re.DOTALL)
_PLACE: Final = re.compile(r"\$\{(?:(env|input):)?([A-Za-z_][A-Za-z0-9_.-]*)(?::-((?:[^}$]|\$(?!\{))*+))?\}")
_PREFIX: Final = re.compile(r"([A-Za-z]+ )(\S+)")  # `Bearer …`, `token …`
_NOT_IN_SECRET: Final = re.compile(r"[^a-z0-9.]+")
_NOT_IN_ID: Final = re.compile(r"[^a-z0-9]+")
_OWN_PROGRAM: Final = re.compile(r"(?:.*/)?briefcase(?:\.exe)?")


class Found(msgspec.Struct, frozen=True):
    """One server as it will be described; `secrets` are the values to store first, by the names in `body`.

    `wanted` are secrets that the file has no value of: somebody sets them.
    """

    name: str
    server_id: str
    body: JsonObject
    secrets: Mapping[str, str]
    wanted: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Found(name={self.name!r}, server_id={self.server_id!r}, ...)"


class LeftOut(msgspec.Struct, frozen=True):
    """A server that is not taken, and why."""

    name: str
    problem: str


def read_client_file(data: bytes, environ: Mapping[str, str]) -> list[Found | LeftOut]:
    """The servers of a client's file, in its order.

    Args:
        data: the file.
        environ: the variables that `${VAR}` names.

    Raises:
        CallerError: it is no JSON, or no such list.
    """
    servers = _group_of(parse_commented(data))
    if servers is None:
        expected = ", ".join(f"`{name}`" for name in GROUPS)
        raise CallerError(f"expected a client's list of MCP servers: an object with {expected}")
    found: list[Found | LeftOut] = []
    taken: set[str] = set()
    for name, entry in servers.items():
        try:
            one = _read(name, entry, environ, taken)
        except CallerError as error:
            found.append(LeftOut(name, error.message))
            continue
        taken.add(one.server_id)
        found.append(one)
    return found


def parse_commented(data: bytes) -> JsonValue:
    """Read JSON that may hold comments and a comma before a closing bracket.

    Raises:
        CallerError: it is none.
    """
    bare = _LAST_COMMA.sub(_strings_only, _COMMENT.sub(_strings_only, data.removeprefix(b"\xef\xbb\xbf")))
    return parse_json(bare)


def _strings_only(match: re.Match[bytes]) -> bytes:
    return match[0] if match[0].startswith(b'"') else b" "


def _group_of(document: JsonValue) -> JsonObject | None:
    if not isinstance(document, dict):
        return None
    inner = document.get("mcp")
    for holder in (document, inner if isinstance(inner, dict) else {}):
        for group in GROUPS:
            servers = holder.get(group)
            if isinstance(servers, dict):
                return servers
    return None


def _read(name: str, entry: JsonValue, environ: Mapping[str, str], taken: set[str]) -> Found:
    if not isinstance(entry, dict):
        raise CallerError("expected an object")
    if entry.get("disabled") is True or entry.get("enabled") is False:
        raise CallerError("it is switched off there")
    command = entry.get("command")
    if isinstance(command, dict):  # Zed's older form
        entry = {**entry, **{key: command[key] for key in command if key != "path"}, "command": command.get("path")}
    reader = _Reader(_server_id(name, taken), environ)
    url = next((entry[key] for key in URLS if isinstance(entry.get(key), str)), None)
    if isinstance(entry.get("command"), str):
        body = reader.process(entry)
    elif isinstance(url, str):
        body = reader.remote(url, entry)
    else:
        raise CallerError("it has neither a command nor a URL")
    return Found(name, reader.server_id, body, reader.secrets, tuple(reader.wanted))


class _Reader:
    """Reads one entry, and notes the secrets that are met."""

    def __init__(self, server_id: str, environ: Mapping[str, str]) -> None:
        self.server_id = server_id
        self.secrets: dict[str, str] = {}
        self.wanted: list[str] = []
        self._environ = environ

    def process(self, entry: JsonObject) -> JsonObject:
        """The description of a server that is started by a command."""
        command, args = self._filled(str(entry["command"])), [self._filled(arg) for arg in _texts(entry, "args")]
        if _OWN_PROGRAM.fullmatch(command) and args[:1] == ["gateway"]:
            raise CallerError("it is briefcase's own gateway")
        if "envFile" in entry:
            raise CallerError("it reads its variables from a file: `envFile` is not read")
        for arg in args:
            if looks_secret(arg):
                raise CallerError(
                    "an argument of it looks like a secret, and arguments are shown to whoever approves: "
                    "give it in a variable"
                )
        env, secret_env = dict[str, JsonValue](), dict[str, JsonValue]()
        for variable, text in _members(entry, "env"):
            secret = self._secret_of(variable, text)
            if secret is None:
                env[variable] = self._filled(text)
            else:
                secret_env[variable] = secret
        cwd = entry.get("cwd")
        return {
            "command": command,
            "args": list[JsonValue](args),
            "env": env,
            "secret_env": secret_env,
            "cwd": self._filled(cwd) if isinstance(cwd, str) else "",
        }

    def remote(self, url: str, entry: JsonObject) -> JsonObject:
        """The description of a server that is reached over HTTP."""
        headers, header_secrets = dict[str, JsonValue](), dict[str, JsonValue]()
        for header, text in _members(entry, "headers"):
            match = _PREFIX.fullmatch(text)
            prefix, value = (match[1], match[2]) if match else ("", text)
            secret = self._secret_of(header, value)
            if secret is None:
                headers[header] = self._filled(text)
            else:
                header_secrets[header] = {"secret": secret, "prefix": prefix}
        return {"endpoint_url": self._filled(url), "headers": headers, "header_secrets": header_secrets}

    def _secret_of(self, name: str, text: str) -> str | None:
        """The vault's name for a value, where it is a secret."""
        asked = _PLACE.fullmatch(text)
        if asked is not None and asked[1] == "input":
            secret = self._named(asked[2])
            self.wanted.append(secret)
            return secret
        value = self._filled(text)
        if not value or not (SECRET_NAME.search(name) or looks_secret(value)):
            return None
        secret = self._named(name)
        if self.secrets.get(secret, value) != value:
            raise CallerError(f"two secrets of it would be stored as `{secret}`")
        self.secrets[secret] = value
        return secret

    def _named(self, name: str) -> str:
        plain = _NOT_IN_SECRET.sub("-", name.lower()).strip("-")
        return f"{self.server_id}-{plain}"[:MAX_SECRET_CHARS]

    def _filled(self, text: str) -> str:
        """A text with what its places name.

        Raises:
            CallerError: a variable is not set, or it asks a person.
        """

        def fill(place: re.Match[str]) -> str:
            if place[1] == "input":
                raise CallerError(f"it asks for `{place[2]}` in the middle of a text")
            value = self._environ.get(place[2], place[3])
            if value is None:
                raise CallerError(f"the variable `{place[2]}`, which it names, is not set here")
            return value

        return _PLACE.sub(fill, text)


def looks_secret(text: str) -> bool:
    """Whether a value is a secret by its looks: an issuer's prefix, a password in an address, a long mixed word."""
    return any(pattern.search(text) for pattern in (_ISSUED, _LOGIN)) or any(map(_RUN.fullmatch, _WORDS.split(text)))


def _server_id(name: str, taken: set[str]) -> str:
    """An id the daemon takes, made of a client's name."""
    plain = _NOT_IN_ID.sub("-", name.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"s-{plain}".strip("-")
    server_id, number = plain[:MAX_ID_CHARS].rstrip("-"), 2
    while server_id in taken:
        end = f"-{number}"
        server_id, number = plain[: MAX_ID_CHARS - len(end)].rstrip("-") + end, number + 1
    return server_id


def _texts(entry: JsonObject, name: str) -> Sequence[str]:
    value = entry.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise CallerError(f"expected `{name}` as a list of texts")
    return [str(item) for item in value]


def _members(entry: JsonObject, name: str) -> list[tuple[str, str]]:
    value = entry.get(name)
    if value is None:
        return []
    if not isinstance(value, dict) or not all(isinstance(item, str | int | float | bool) for item in value.values()):
        raise CallerError(f"expected `{name}` as an object of texts")
    return [(key, item if isinstance(item, str) else str(item).lower()) for key, item in value.items()]
