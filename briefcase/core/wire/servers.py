"""MCP servers on the wire: the operator's side, the gateway's, and the log-ins at them."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from briefcase.model.types import COMPATIBILITY_PROFILE

SERVER_STATES: Final = ("opening", "ready", "refused", "stopped", "waiting")


class ServerSummary(msgspec.Struct, frozen=True):
    """One server.

    `endpoint_url` is `stdio:` and a command for one the daemon starts; `held` counts what changed, `unusable` what
    cannot be used (`ServerDetail.problems`), and `needs_login` says that it refused what we have. `problem` is why it
    cannot be used, or why its log-in could not be renewed.
    """

    id: str
    endpoint_url: str
    has_oauth_refresh: bool
    transport: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["http", "stdio"]})] = ""
    state: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [*SERVER_STATES]})] = ""
    problem: str = ""
    revision: str = ""
    tools: int = 0
    held: int = 0
    allow_incompatible: bool = False
    needs_login: bool = False
    unusable: int = 0


class ServerList(msgspec.Struct, frozen=True):
    """All servers, sorted by id."""

    servers: list[ServerSummary]


class ServerProblem(msgspec.Struct, frozen=True):
    """Something that a server lists and nobody can use, and why."""

    name: str
    problem: str


class ServerDetail(msgspec.Struct, frozen=True):
    """One server's description; secrets appear by name. `stderr` is what its process wrote there last, redacted."""

    summary: ServerSummary
    args: list[str] = []
    cwd: str = ""
    variables: list[str] = []
    secrets: dict[str, str] = {}
    rules: list[dict[str, Any]] = []
    problems: list[ServerProblem] = []
    stderr: list[str] = []


class ServerDeleted(msgspec.Struct, frozen=True):
    """The server is gone, with its pins."""

    server_id: str


class DefinitionChange(msgspec.Struct, frozen=True):
    """One tool: as it was accepted, and as the server lists it now. Null where there is none."""

    name: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class Differences(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since the definitions were accepted; `digest` is over what is listed now."""

    server_id: str = ""
    digest: str
    changes: list[DefinitionChange]


class AcceptBody(msgspec.Struct, frozen=True):
    """The digest that was looked at."""

    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """What is listed now is what may be called."""

    server_id: str = ""
    tools: int


class ServerOffer(msgspec.Struct, frozen=True):
    """What one server announced when it was connected to."""

    state: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [*SERVER_STATES]})] = ""
    capabilities: dict[str, Any] = {}
    revision: str = ""


class Catalog(msgspec.Struct, frozen=True):
    """What an agent may see: servers with their capabilities, what policy hides, what waits for a person.

    `tools` has the parts of a definition that only MCP knows, by the tool's id.
    """

    mode: str = ""
    compatibility_profile: str = COMPATIBILITY_PROFILE
    servers: dict[str, ServerOffer] = {}
    tools: dict[str, dict[str, Any]] = {}
    hidden: list[str] = []
    needs_approval: list[str] = []


class FollowQuery(msgspec.Struct, frozen=True):
    """What comes after a number; `wait_ms`, at most a minute, waits for something to come."""

    after: int = 0
    wait_ms: Annotated[int, msgspec.Meta(ge=0)] = 0


class CallNotifications(msgspec.Struct, frozen=True):
    """What a server said while the call ran; `next` is where to go on, `done` that nothing follows."""

    notifications: list[dict[str, Any]]
    next: int
    done: bool = False


class CallCancelled(msgspec.Struct, frozen=True):
    """Whether there was a call to cancel."""

    cancelled: bool


class ChangeRecord(msgspec.Struct, frozen=True):
    """A list of a server, or one resource of it, changed."""

    server: str
    kind: Annotated[str, msgspec.Meta(extra_json_schema={"enum": ["prompts", "resource", "resources", "tools"]})]
    uri: str = ""


class ChangeList(msgspec.Struct, frozen=True):
    """Changes in order; `next` is where to go on."""

    changes: list[ChangeRecord]
    next: int


class ServerLoginBody(msgspec.Struct, frozen=True):
    """The loopback address where the answer is waited for; who asks, and for what, where we should not find out."""

    redirect_uri: str
    client_id: str = ""
    scope: str | None = None


class ServerLoginStarted(msgspec.Struct, frozen=True):
    """Where to send the person, and the `state` the answer must carry."""

    server_id: str
    authorization_url: str
    state: str


class ServerLoginAnswer(msgspec.Struct, frozen=True):
    """What the person came back with; `iss` as it was there, or not at all."""

    code: str
    state: str
    iss: str | None = None


class ServerNamed(msgspec.Struct, frozen=True):
    """It was done to this server."""

    server_id: str


class ServerLoginRevoked(msgspec.Struct, frozen=True):
    """What came of ending a log-in."""

    server_id: str
    had_refresh_token: bool
    remote_revocation_attempted: bool
    remote_revocation_succeeded: bool
