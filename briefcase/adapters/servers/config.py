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
from briefcase.core.budgets import MAX_COST_MICROUSD
from briefcase.model.errors import CallerError
from briefcase.model.identifiers import CATEGORY, VARIABLE, is_name, is_server_id, whole
from briefcase.model.types import JsonObject

MAX_SERVERS: Final = 64
MAX_ARGS: Final = 64
MAX_ARG_CHARS: Final = 4_096
MAX_RULES: Final = 256
MAX_VARIABLES: Final = 64
MAX_SHOWN_ARGS_CHARS: Final = 1_000
MIN_URL_SLASHES: Final = 3  # two of the scheme, one of the path

_VARIABLE: Final = re.compile(VARIABLE)
_OWN_VARIABLES: Final = ("BRIEFCASE_", "LD_", "DYLD_")
_REACH: Final = ("endpoint_url", "command", "args", "cwd", "env", "secret_env", "bearer_secret", "oauth")
_URL: Final = re.compile(r"https?://[^\s\\@#]{1,2000}")

Arg = Annotated[str, msgspec.Meta(max_length=MAX_ARG_CHARS)]


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operator says of the tools whose name matches; the first rule that matches counts, field by field."""

    tool: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    category: Annotated[str, msgspec.Meta(pattern=whole(CATEGORY))] | None = None
    cost_microusd: Annotated[int, msgspec.Meta(ge=0, le=MAX_COST_MICROUSD)] | None = None
    hidden: bool | None = None


class ServerConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """One server.

    `env` are plain variables, `secret_env` maps a variable to the vault's secret that fills it, `bearer_secret` names
    the secret sent as the bearer token, `oauth` says how to log in instead. `review` holds the first definitions back
    as well until an operator looked. `allow_incompatible` lets a server that does not announce our profile in where the
    daemon's mode would refuse it.
    """

    id: str
    endpoint_url: str = ""
    command: str = ""
    args: tuple[Arg, ...] = ()
    cwd: str = ""
    env: dict[str, Arg] = {}
    secret_env: dict[str, str] = {}
    bearer_secret: str | None = None
    oauth: ServerOAuth = ServerOAuth()
    rules: tuple[Rule, ...] = ()
    review: bool = False
    allow_incompatible: bool = False
    timeout_ms: Annotated[int, msgspec.Meta(ge=100, le=600_000)] = 30_000

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
        return hashlib.sha256(msgspec.json.encode(reach, order="sorted")).hexdigest()

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
    _check_variables(config)
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


def _check_variables(config: ServerConfig) -> None:
    names = [*config.env, *config.secret_env]
    if len(names) > MAX_VARIABLES or len(set(names)) != len(names):
        raise CallerError(f"expected at most {MAX_VARIABLES} variables, each once")
    for name in names:
        if not _VARIABLE.fullmatch(name) or name.upper().startswith(_OWN_VARIABLES):
            raise CallerError(f"a server may not be given the variable `{name[:64]}`")
    named = [*config.secret_env.values(), config.bearer_secret, config.oauth.client_secret]
    for secret in [name for name in named if name is not None]:
        if not is_name(secret):
            raise CallerError(f"expected a secret's name, got `{secret[:16]}…`", hint="`briefcase secrets set NAME`")
