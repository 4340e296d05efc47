"""LiteLLM's proxy: a guardrail that has each call of an MCP tool decided before it leaves (`pre_mcp_call`).

    litellm.callbacks = [BoundaryGuardrail(AsyncBoundary())]

A guardrail of this kind never hears what came of a call. So each is decided and closed in one transaction, and its
receipt says that the outcome was not observed. What is decided on is what leaves: the arguments are handed back as they
were sent. A denied call is a 403 with its reason and what to do. One that waits is refused, too; the same call made
again after the person's yes goes through, once.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from http import HTTPStatus
from typing import Any, Final

from fastapi import HTTPException
from litellm.integrations.custom_guardrail import CustomGuardrail
from litellm.types.guardrails import GuardrailEventHooks

from briefcase.client import Allowed, ApprovalPending, AsyncBoundary, BoundaryError, Denied, Waiting
from briefcase.edges.client.conversations import encode_args

CALL_TYPE: Final = "call_mcp_tool"
MAX_ASKED: Final = 1_024


class BoundaryGuardrail(CustomGuardrail):
    """Each MCP tool call through the boundary; on for every request, whatever the request says.

    Args:
        boundary: in the proxy's loop.
        prefix: what stands before a tool's name in the daemon's ids.
    """

    def __init__(self, boundary: AsyncBoundary, *, prefix: str = "") -> None:
        super().__init__(guardrail_name="briefcase", event_hook=GuardrailEventHooks.pre_mcp_call, default_on=True)
        self._boundary = boundary
        self._prefix = prefix
        self._asked: OrderedDict[tuple[str, str], str] = OrderedDict()  # the approval that a call waits for

    async def async_pre_call_hook(
        self,
        user_api_key_dict: object,
        cache: object,
        data: dict[str, Any],
        call_type: str,
    ) -> dict[str, Any] | None:
        """Decide one call, and refuse what may not run.

        Raises:
            HTTPException: the call may not run.
        """
        del user_api_key_dict, cache
        if call_type != CALL_TYPE:
            return None
        try:
            arguments = json.loads(encode_args(data.get("mcp_arguments") or {}))
            await self._decide(self._prefix + str(data.get("mcp_tool_name") or ""), arguments)
        except (BoundaryError, TypeError, ValueError) as error:
            raise HTTPException(HTTPStatus.FORBIDDEN, {"error": str(error)}) from None
        return {**data, "modified_arguments": arguments}

    async def _decide(self, tool_id: str, arguments: dict[str, Any]) -> None:
        call = tool_id, encode_args(arguments)
        decision = await self._boundary.evaluate(tool_id, arguments, approval=self._asked.pop(call, None))
        match decision:
            case Allowed():
                return
            case Waiting():
                self._asked[call] = decision.approval_id
                if len(self._asked) > MAX_ASKED:
                    self._asked.popitem(last=False)
                raise ApprovalPending(decision, "")
            case _:
                raise Denied(decision)
