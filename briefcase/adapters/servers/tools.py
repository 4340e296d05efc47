"""What a server offers, as tools of the daemon (`ports.Tool`): its own tools, and one tool for each thing beside them.

| tool id | stands for | arguments |
|---|---|---|
| `server.name` | `tools/call` | the tool's own |
| `server:resources.read` and its kind (`OPERATIONS`) | the method of that name | the method's parameters |
| `server:continue` | going on with a call that waits for input | `target` `arguments` `state` `responses` |
| `server:tasks.get`, `.update`, `.cancel` | a call that became a task | `task`; `responses` to what is asked |

So policy decides about them by name and arguments, receipts record them, and nothing of a server is reached otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from copy import copy
from functools import cache, cached_property
from typing import Final, Protocol

import msgspec

from briefcase.adapters.servers.config import ServerConfig
from briefcase.adapters.servers.definitions import MAX_RESULT_BYTES, Definition, args_schema, tool_spec
from briefcase.adapters.servers.exchanges import Exchange
from briefcase.adapters.servers.flows import Answered, Ask
from briefcase.adapters.servers.session import ServerRpcError
from briefcase.adapters.telemetry.tracing import upstream_span
from briefcase.adapters.tools.schema import ArgsCheck
from briefcase.core.mcp.jsonrpc import as_object
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import CallContext, Destination
from briefcase.model.types import JsonObject, OutputFirewall, ToolResult, ToolSpec

CONTINUE: Final = "continue"
TASK_UPDATE: Final = "tasks.update"
TASK_OPERATIONS: Final = ("tasks.get", TASK_UPDATE, "tasks.cancel")
EXTRA_FIELDS: Final = ("title", "annotations", "icons", "execution", "_meta")


class OperationForm(msgspec.Struct, frozen=True):
    """A method that is a tool: its name on the wire, and the schema of its parameters."""

    method: str
    schema: JsonObject


def _form(method: str, required: tuple[str, ...] = (), **properties: JsonObject) -> OperationForm:
    schema: JsonObject = {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
    return OperationForm(method, schema)


_TEXT: Final[JsonObject] = {"type": "string", "maxLength": 4_096}
_OBJECT: Final[JsonObject] = {"type": "object"}
OPERATIONS: Final[dict[str, OperationForm]] = {
    "resources.list": _form("resources/list", cursor=_TEXT),
    "resources.templates": _form("resources/templates/list", cursor=_TEXT),
    "resources.read": _form("resources/read", ("uri",), uri=_TEXT),
    "resources.subscribe": _form("resources/subscribe", ("uri",), uri=_TEXT),
    "resources.unsubscribe": _form("resources/unsubscribe", ("uri",), uri=_TEXT),
    "prompts.list": _form("prompts/list", cursor=_TEXT),
    "prompts.get": _form("prompts/get", ("name",), name=_TEXT, arguments=_OBJECT),
    "complete": _form("completion/complete", ("ref", "argument"), ref=_OBJECT, argument=_OBJECT, context=_OBJECT),
    CONTINUE: _form(
        "",
        ("target", "arguments", "state"),
        target=_TEXT,
        arguments=_OBJECT,
        state={"type": "string"},
        responses=_OBJECT,
    ),
    "tasks.get": _form("", ("task",), task=_TEXT),
    TASK_UPDATE: _form("", ("task", "responses"), task=_TEXT, responses=_OBJECT),
    "tasks.cancel": _form("", ("task",), task=_TEXT),
}


class Runner(Protocol):
    """What runs a request on a server (`calls.ServerCalls`)."""

    def run(self, server_id: str, ask: Ask, context: CallContext) -> Awaitable[Answered]:
        """Send it, and give the result."""
        ...

    def go_on(self, server_id: str, args: JsonObject, context: CallContext) -> Awaitable[Answered]:
        """Go on with a call that waits for input."""
        ...

    def on_task(self, operation: str, server_id: str, args: JsonObject, context: CallContext) -> Awaitable[Answered]:
        """Ask of a task, answer it, or end it (`TASK_OPERATIONS`)."""
        ...

    def exchange_of(self, context: CallContext) -> Exchange:
        """The call's exchange."""
        ...


class ServerTool:
    """One tool of a server, as it was pinned."""

    def __init__(self, runner: Runner, config: ServerConfig, definition: Definition) -> None:
        self._runner = runner
        self._server_id = config.id
        self._config = config
        self._definition = definition

    @cached_property
    def spec(self) -> ToolSpec:
        """The definition, with its digest; read when it is first listed or called."""
        return tool_spec(self._definition, self._config)

    @property
    def destination(self) -> Destination:
        """The server, and the URL or the command it is reached by."""
        return Destination(self._config.shown_address, server=self._server_id)

    @cached_property
    def extra(self) -> JsonObject:
        """What only MCP knows of it, for who lists tools."""
        body = self._definition.body
        return {name: body[name] for name in EXTRA_FIELDS if name in body}

    @cached_property
    def task_support(self) -> str:
        """`required`, `optional` or `forbidden`: whether it runs as a task, as a server of 2025-11-25 says."""
        said = as_object(self._definition.body.get("execution")).get("taskSupport")
        return said if said in {"required", "optional"} else "forbidden"

    def is_of(self, config: ServerConfig, definition: Definition) -> bool:
        """Whether it still is the tool of a description and a definition."""
        return self._config is config and self._definition.digest_hex == definition.digest_hex

    def check_args(self, args: JsonObject) -> str | None:
        """Validate against the tool's own schema, which the first call compiles."""
        try:
            return self._check.problem_of(args)
        except CallerError as error:  # it was accepted under wider bounds than today's
            return error.message

    @cached_property
    def _check(self) -> ArgsCheck:
        return ArgsCheck(args_schema(self.spec.input_schema))

    async def execute(self, args: JsonObject, context: CallContext) -> ToolResult:
        """Call it. The result is the server's `CallToolResult`, whole. Raises as `ports.Tool`."""
        ask = ask_for(self.spec, args)
        return await _executed(self._runner, self._server_id, self._runner.run(self._server_id, ask, context), context)


class ServerOperation:
    """One method of a server beside its tools."""

    def __init__(self, runner: Runner, config: ServerConfig, name: str) -> None:
        form, server_id = OPERATIONS[name], config.id
        bound: JsonObject = {"operation": f"{server_id}:{name}", "reach": config.reach_digest_hex}
        self._runner = runner
        self._server_id = server_id
        self._config = config
        self._name = name
        self._spec = ToolSpec(
            id=f"{server_id}:{name}",
            name=form.method or name,
            description=f"`{form.method or name}` of the server `{server_id}`",
            input_schema=form.schema,
            output_schema={},
            category="read",
            output_firewall=OutputFirewall(max_bytes=MAX_RESULT_BYTES),
            net_access=True,
            source=f"mcp:{server_id}",
            timeout_ms=config.timeout_ms,
            digest_hex=hashlib.sha256(canonical_bytes(bound)).hexdigest(),
        )

    @property
    def spec(self) -> ToolSpec:
        """The definition, with its digest."""
        return self._spec

    def going_on_with(self, target: ToolSpec, round_: str = "") -> ServerOperation:
        """`server:continue` as it goes on with a call of one tool: charged and approved as that tool is.

        `round_` names the question that is answered, where nothing in the arguments does.
        """
        going_on = copy(self)
        bound = "\n".join([self._spec.digest_hex, target.digest_hex, *filter(None, (round_,))]).encode()
        going_on._spec = msgspec.structs.replace(  # noqa: SLF001 - of this very class
            self._spec,
            name=f"{self._spec.id} with {target.id}",
            description=f"goes on with `{target.id}`: `responses` is what the agent answers to the server's questions",
            category=target.category,
            cost_microusd=target.cost_microusd,
            digest_hex=hashlib.sha256(bound).hexdigest(),
        )
        return going_on

    @property
    def destination(self) -> Destination:
        """The server, and the URL or the command it is reached by."""
        return Destination(self._config.shown_address, server=self._server_id)

    def check_args(self, args: JsonObject) -> str | None:
        """Validate against the method's parameters."""
        return _operation_check(self._name).problem_of(args)

    async def execute(self, args: JsonObject, context: CallContext) -> ToolResult:
        """Ask the server. Raises as `ports.Tool`."""
        if self._name == CONTINUE:
            work: Awaitable[Answered] = self._runner.go_on(self._server_id, args, context)
        elif self._name in TASK_OPERATIONS:
            work = self._runner.on_task(self._name, self._server_id, args, context)
        else:
            work = self._runner.run(self._server_id, ask_for(self._spec, args), context)
        of_task = self._name in TASK_OPERATIONS
        return await _executed(self._runner, self._server_id, work, context, of_task=of_task)


@cache
def _operation_check(name: str) -> ArgsCheck:
    """The check of an operation's arguments, which is every server's."""
    return ArgsCheck(OPERATIONS[name].schema)


def ask_for(target: ToolSpec, args: JsonObject) -> Ask:
    """The request a tool's call stands for.

    Raises:
        UpstreamError: the id names no tool and no operation that a request stands for.
    """
    _, colon, operation = target.id.partition(":")
    if colon:
        form = OPERATIONS.get(operation)
        if form is None or not form.method:
            raise UpstreamError(f"`{target.id}` stands for no request", code="upstream_refused", sent=False)
        return Ask(target, form.method, args, args)
    name = target.id.partition(".")[2]
    return Ask(target, "tools/call", {"name": name, "arguments": args}, args)


async def _executed(
    runner: Runner, server_id: str, work: Awaitable[Answered], context: CallContext, *, of_task: bool = False
) -> ToolResult:
    """Wait for what a server answers; a task's result is inside of what is told of the task (`of_task`)."""
    try:
        with upstream_span("mcp.request", {"briefcase.server": server_id}):
            answer = await work
            said = as_object(answer.result.get("result")) if of_task else answer.result
            is_error = said.get("isError") is True
            return ToolResult(answer.result, f"mcp:{server_id}", is_error=is_error, inexact=answer.inexact)
    except ServerRpcError as error:
        note: JsonObject = {"code": error.rpc_code, "message": error.rpc_message}
        required = as_object(error.rpc_data).get("requiredCapabilities") if isinstance(error.rpc_data, dict) else None
        if required is not None:
            note["data"] = {"requiredCapabilities": required}
        runner.exchange_of(context).error = note
        raise
