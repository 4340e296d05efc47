"""An agent of the OpenAI Agents SDK whose model is a script: a call that may run, one that may not, one that waits."""

import asyncio
import json

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage, function_tool
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from scene import approve_all, tell

from briefcase.client import AsyncBoundary
from briefcase.edges.client.adapters.openai_agents import governed

ran: list[str] = []


@function_tool
def look_up(word: str) -> str:
    """Look a word up."""
    ran.append(f"look_up {word}")
    return f"{word} is a word"


@function_tool
def send_mail(to: str) -> str:
    """Send one letter."""
    ran.append(f"send_mail {to}")
    return "sent"


@function_tool
def secret_tool() -> str:
    """Nobody registered this."""
    ran.append("secret_tool")
    return "?"


class Script(Model):
    def __init__(self, *calls: tuple[str, dict, str]) -> None:
        self.calls = list(calls)

    async def get_response(self, *args, **kwargs) -> ModelResponse:
        if self.calls:
            name, arguments, call_id = self.calls.pop(0)
            output = ResponseFunctionToolCall(
                arguments=json.dumps(arguments), call_id=call_id, name=name, type="function_call"
            )
        else:
            text = ResponseOutputText(annotations=[], text="done", type="output_text")
            output = ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")
        return ModelResponse(output=[output], usage=Usage(), response_id=None)

    def stream_response(self, *args, **kwargs):
        raise NotImplementedError


def answers(result) -> list[str]:
    return [item.output for item in result.new_items if item.type == "tool_call_output_item"]


async def main() -> None:
    quiet = RunConfig(tracing_disabled=True)
    async with AsyncBoundary(wait_s=0) as boundary:
        tools = [governed(tool, boundary) for tool in (look_up, send_mail, secret_tool)]
        model = Script(("look_up", {"word": "ox"}, "c1"), ("secret_tool", {}, "c2"))
        agent = Agent(name="scout", model=model, tools=tools)
        tell(plain=answers(await Runner.run(agent, "go", run_config=quiet)), ran=list(ran))

        ran.clear()
        agent = Agent(name="scout", model=Script(("send_mail", {"to": "bob"}, "d1")), tools=tools)
        stopped = await Runner.run(agent, "go", run_config=quiet)
        [asked] = stopped.interruptions
        tell(stopped=asked.name, ran=list(ran))
        state = stopped.to_state()
        approve_all()
        state.approve(asked)
        tell(resumed=answers(await Runner.run(agent, state, run_config=quiet)), ran=list(ran))

        ran.clear()
        agent = Agent(name="scout", model=Script(("send_mail", {"to": "cyn"}, "f1")), tools=tools)
        stopped = await Runner.run(agent, "go", run_config=quiet)
        state = stopped.to_state()
        state.approve(stopped.interruptions[0])  # approved here, and by nobody at the boundary
        tell(too_early=answers(await Runner.run(agent, state, run_config=quiet)), ran=list(ran))


asyncio.run(main())
