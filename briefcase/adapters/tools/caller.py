"""Tools that their caller runs: a program's own functions, decided here and executed by nobody here.

    [[caller_tools]]
    id = "send_mail"
    description = "Send one letter"
    category = "write"
    cost_usd = "0.01"

    [caller_tools.input_schema]
    type = "object"
    properties = { to = { type = "string" } }

An operator registers one like any other manifest; an agent cannot. What it does is unknown here, so it counts as
reaching the network, and a call of it by `POST /v1/tools/call` fails with nothing sent.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET

from briefcase.adapters.tools.definition import with_digest
from briefcase.adapters.tools.manifest import CallerManifest, cost_microusd_of, read_manifest_file
from briefcase.adapters.tools.schema import ArgsCheck
from briefcase.model.errors import CallerError, UpstreamError
from briefcase.model.ports import CallContext
from briefcase.model.types import JsonObject, ToolResult, ToolSpec

SOURCE: Final = "caller"


class CallerTool:
    """One of them (`ports.Tool`).

    Args:
        spec: its definition.
        check: its schema, compiled.
    """

    def __init__(self, spec: ToolSpec, check: ArgsCheck) -> None:
        self.spec = spec
        self._check = check

    def check_args(self, args: JsonObject) -> str | None:
        """See `ports.Tool`."""
        return self._check.problem_of(args)

    async def execute(self, args: JsonObject, context: CallContext) -> ToolResult:
        """Refuse.

        Raises:
            UpstreamError: always, and nothing was sent.
        """
        del args, context
        raise UpstreamError(
            f"`{self.spec.id}` is run by its caller",
            hint="have it decided by `POST /v1/decide`, and run it",
            sent=False,
        )


def parse_caller_tools(text: bytes, file: str) -> list[CallerTool]:
    """Read the tools of a manifest file that their caller runs. Args and Raises as `read_manifest_file`."""
    return [_tool_of(manifest, file) for manifest in read_manifest_file(text, file).caller_tools]


def _tool_of(manifest: CallerManifest, file: str) -> CallerTool:
    schema: JsonObject = {"type": "object", **manifest.input_schema}
    try:
        cost_microusd, check = cost_microusd_of(manifest.cost_usd), ArgsCheck(schema)
    except (ValueError, CallerError) as error:
        raise CallerError(f"`{file}`: tool `{manifest.id}`: {error}", code="invalid_manifest") from None
    spec = ToolSpec(
        id=manifest.id,
        name=manifest.name or manifest.id,
        description=manifest.description,
        input_schema=schema,
        output_schema={},
        category=manifest.category,
        cost_microusd=cost_microusd,
        net_access=True,
        source=SOURCE,
        approvers=1 if manifest.approvers is UNSET else manifest.approvers,
    )
    return CallerTool(with_digest(spec), check)
