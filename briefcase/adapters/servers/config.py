"""An MCP server behind the daemon, as its operator describes it: how to reach it, what it may have, how to treat it.

A server is either reached over HTTP (`endpoint_url`) or started by the daemon (`command`). Secrets are named here and
kept in the vault. Rules say what a server's tools are; without one, a tool's own `readOnlyHint` is taken as a hint that
it reads, and everything else writes.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import shlex
from typing import Annotated, Final, Literal

import msgspec

from briefcase.adapters.oauth.registration import ServerOAuth
from briefcase.adapters.servers.transport import MAX_MESSAGE_BYTES
from briefcase.core.budgets import MAX_COST_MICROUSD
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import CATEGORY, FIELD_NAME_CHAR, VARIABLE, is_name, is_server_id, whole
from briefcase.model.types import JsonObject

MAX_SERVERS: Final = 64
MAX_ARGS: Final = 64
MAX_ARG_CHARS: Final = 4_096
MAX_RULES: Final = 256
MAX_VARIABLES: Final = 64
MAX_SHOWN_ARGS_CHARS: Final = 1_000
MIN_URL_SLASHES: Final = 3  # two of the scheme, one of the path
MIN_TIMEOUT_MS: Final = 100
MAX_TIMEOUT_MS: Final = 600_000  # of a call; whoever waits for the daemon waits a little longer

_VARIABLE: Final = re.compile(VARIABLE)
_OWN_VARIABLES: Final = ("BRIEFCASE_", "LD_", "DYLD_")
_HEADER: Final = re.compile(rf"{FIELD_NAME_CHAR}{{1,128}}")
_HEADER_VALUE: Final = re.compile(r"[ -~]{1,4096}")
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_OWN_HEADERS: Final = frozenset({
    "accept", "connection", "content-length", "content-type", "dpop", "expect", "host", "keep-alive", "last-event-id",
    "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
_REACH: Final = ("endpoint_url", "command", "args", "cwd", "env", "secret_env", "bearer_secret", "oauth")
_URL: Final = re.compile(r"https?://[^\s\\@#]{1,2000}")

Arg = Annotated[str, msgspec.Meta(max_length=MAX_ARG_CHARS)]


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operator says of the tools whose name matches; the first rule that matches counts, field by field."""

    tool: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    category: Annotated[str, msgspec.Meta(pattern=whole(CATEGORY))] | None = None
    cost_microusd: Annotated[int, msgspec.Meta(ge=0, le=MAX_COST_MICROUSD)] | None = None
    hidden: bool | None = None


class HeaderSecret(msgspec.Struct, frozen=True, omit_defaults=True):
    """A header's value: a secret of the vault, by name, behind a prefix."""

    secret: str
    prefix: Annotated[str, msgspec.Meta(max_length=64)] = ""


class ServerConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """One server.

    `env` are plain variables, `secret_env` maps a variable to the vault's secret that fills it; `headers` are plain
    ones, `header_secrets` maps a header to the secret sent in it, `bearer_secret` names the secret sent as the bearer
    token, `oauth` says how to log in instead. `review` holds the first definitions back as well until an operator
    looked. `allow_incompatible` lets a server that does not announce our profile in where the daemon's mode would
    refuse it. `timeout_ms` is a call's deadline, 0 for the daemon's own (`[calls] deadline_ms`); `start_timeout_ms` is
    how long its handshake and its listing may take each, and `max_message_bytes` how large one message of it may be.
    """

    id: str
    endpoint_url: str = ""
    command: str = ""
    args: tuple[Arg, ...] = ()
    cwd: str = ""
    env: dict[str, Arg] = {}
    secret_env: dict[str, str] = {}
    headers: dict[str, str] = {}
    header_secrets: dict[str, HeaderSecret] = {}
    bearer_secret: str | None = None
    oauth: ServerOAuth = ServerOAuth()
    rules: tuple[Rule, ...] = ()
    review: bool = False
    allow_incompatible: bool = False
    timeout_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIMEOUT_MS)] = 0
    start_timeout_ms: Annotated[int, msgspec.Meta(ge=1_000, le=MAX_TIMEOUT_MS)] = 30_000
    max_message_bytes: Annotated[int, msgspec.Meta(ge=64 << 10, le=256 << 20)] = MAX_MESSAGE_BYTES

    @property
    def transport(self) -> Literal["http", "stdio"]:
        """How it is reached."""
        return "stdio" if self.command else "http"

    @property
    def address(self) -> str:
        """Its URL, or `stdio:` and the command it runs."""
        return f"stdio:{self.command}" if self.command else self.endpoint_url

    @property
    def shown_address(self) -> str:
        """The same with the command's arguments, as whoever approves reads it: they often name what is run."""
        words = shlex.join(self.args)
        rest = len(words) - MAX_SHOWN_ARGS_CHARS
        if rest > 0:
            words = f"{words[:MAX_SHOWN_ARGS_CHARS]}… ({rest} more characters)"
        return f"{self.address} {words}" if words else self.address

    @property
    def reach_digest_hex(self) -> str:
        """Over all that says who is reached: an approval and a waiting call are bound to it, as to a definition."""
        reach = [getattr(self, name) for name in _REACH]
        reach += [named for named in (self.headers, self.header_secrets) if named]
        return hashlib.sha256(msgspec.json.encode(reach, order="sorted")).hexdigest()

    @property
    def secret_headers(self) -> dict[str, HeaderSecret]:
        """The headers that are filled from the vault, the bearer token's among them."""
        bearer = {} if self.bearer_secret is None else {"Authorization": HeaderSecret(self.bearer_secret, "Bearer ")}
        return {**bearer, **self.header_secrets}

    @property
    def takes_logins(self) -> bool:
        """Whether a log-in is what lets us in: it is reached over HTTP, and no secret is sent in its place."""
        return self.transport == "http" and not self.secret_headers

    def rule_for(self, tool_name: str) -> Rule:
        """What the rules say of one tool, together."""
        category: str | None = None
        cost_microusd: int | None = None
        hidden: bool | None = None
        for rule in self.rules:
            if fnmatch.fnmatchcase(tool_name, rule.tool):
                category = rule.category if category is None else category
                cost_microusd = rule.cost_microusd if cost_microusd is None else cost_microusd
                hidden = rule.hidden if hidden is None else hidden
        return Rule(tool_name, category, cost_microusd, hidden)


def parse_server(server_id: str, body: JsonObject) -> ServerConfig:
    """Read a server's description from an operator's request; unknown fields are ignored.

    Raises:
        CallerError: a field of another type or out of its range, neither or both ways to reach it, or a variable that
            would reach into the process (`LD_…`) or into us (`BRIEFCASE_…`).
    """
    if not is_server_id(server_id):
        raise CallerError(
            f"expected a server id of lower case letters, digits and `-`, at most 32, got `{server_id[:64]}`"
        )
    try:
        config = msgspec.convert({**body, "id": server_id}, ServerConfig)
    except msgspec.ValidationError as error:
        raise CallerError(str(error).lower()) from None
    if bool(config.endpoint_url) == bool(config.command):
        raise CallerError("expected either `endpoint_url` or `command`")
    if config.endpoint_url and not _URL.fullmatch(config.endpoint_url):
        raise CallerError(
            f"expected an http or https URL without user, fragment or spaces, got `{config.endpoint_url[:128]}`"
        )
    if len(config.args) > MAX_ARGS or len(config.rules) > MAX_RULES:
        raise CallerError(f"expected at most {MAX_ARGS} arguments and {MAX_RULES} rules")
    if "\0" in config.command + config.cwd + "".join(config.args):
        raise CallerError("expected no zero byte in a command, an argument or a directory")
    if 0 < config.timeout_ms < MIN_TIMEOUT_MS:
        raise CallerError(f"expected `timeout_ms` as 0 or at least {MIN_TIMEOUT_MS}, got {config.timeout_ms}")
    _check_variables(config)
    _check_headers(config)
    _check_oauth(config)
    return config


def _check_oauth(config: ServerConfig) -> None:
    oauth = config.oauth
    if oauth.client_secret is not None and not oauth.client_id:
        raise CallerError("expected a client id beside the client's secret")
    url = oauth.client_metadata_url
    if url and (not _URL.fullmatch(url) or not url.startswith("https://") or url.count("/") < MIN_URL_SLASHES):
        raise CallerError("expected the client metadata at an https URL with a path")
    if config.transport == "stdio" and oauth != ServerOAuth():
        raise CallerError("a server that is started by a command has no log-in")


def _check_headers(config: ServerConfig) -> None:
    bearer = () if config.bearer_secret is None else ("Authorization",)
    names = [*config.headers, *config.header_secrets, *bearer]
    if names and config.transport == "stdio":
        raise CallerError("a server that is started by a command has no headers: name its secrets with `secret_env`")
    if len(names) > MAX_VARIABLES or len({name.lower() for name in names}) != len(names):
        raise CallerError(f"expected at most {MAX_VARIABLES} headers, each once")
    for name in names:
        if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS or name.lower().startswith("mcp-"):
            raise CallerError(f"a server may not be sent the header `{name[:64]}`")
    for name, sent in config.header_secrets.items():
        if not _HEADER_VALUE.fullmatch(f"{sent.prefix}x"):
            raise CallerError(f"expected the prefix of the header `{name}` as plain characters")
    for name, value in config.headers.items():
        if not _HEADER_VALUE.fullmatch(value) or value != value.strip():
            raise CallerError(f"expected the header `{name}` as 1 to 4096 plain characters")
        if name.lower() in _CREDENTIALS:
            raise CallerError(
                f"expected no credential in `headers`, got `{name}`", hint="name the secret with `header_secrets`"
            )


def _check_variables(config: ServerConfig) -> None:
    names = [*config.env, *config.secret_env]
    if len(names) > MAX_VARIABLES or len(set(names)) != len(names):
        raise CallerError(f"expected at most {MAX_VARIABLES} variables, each once")
    for name in names:
        if not _VARIABLE.fullmatch(name) or name.upper().startswith(_OWN_VARIABLES):
            raise CallerError(f"a server may not be given the variable `{name[:64]}`")
    in_headers = [header.secret for header in config.header_secrets.values()]
    named = [*config.secret_env.values(), *in_headers, config.bearer_secret, config.oauth.client_secret]
    for secret in [name for name in named if name is not None]:
        if not is_name(secret):
            raise CallerError(f"expected a secret's name, got `{secret[:16]}…`", hint="`briefcase secrets set NAME`")
