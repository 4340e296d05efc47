"""An agent of LangChain whose model is a script: one call that may run, one that may not, one that waits."""

import asyncio
from collections.abc import Iterator

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from scene import approve_all, tell

from briefcase.client import AsyncBoundary, Boundary
from briefcase.edges.client.adapters.langchain import BoundaryMiddleware

ran: list[str] = []


class Script(GenericFakeChatModel):
    def bind_tools(self, tools, **options):
        return self


def look_up(word: str) -> str:
    """Look a word up."""
    ran.append(f"look_up {word}")
    return f"{word} is a word"


def send_mail(to: str) -> str:
    """Send one letter."""
    ran.append(f"send_mail {to}")
    return "sent"


def secret_tool() -> str:
    """Nobody registered this."""
    ran.append("secret_tool")
    return "?"


def script(*calls: tuple[str, dict, str]) -> Iterator[AIMessage]:
    for name, args, call_id in calls:
        yield AIMessage("", tool_calls=[{"name": name, "args": args, "id": call_id, "type": "tool_call"}])
    yield AIMessage("done")


def answers(result: dict) -> list[list[str]]:
    return [[one.name, one.status, one.text] for one in result["messages"] if isinstance(one, ToolMessage)]


TOOLS = [look_up, send_mail, secret_tool]
ASK = {"messages": [{"role": "user", "content": "go"}]}

calls = [("look_up", {"word": "ox"}, "c1"), ("secret_tool", {}, "c2"), ("send_mail", {"to": "ann"}, "c3")]
with Boundary(wait_s=0) as boundary:
    agent = create_agent(Script(messages=script(*calls)), TOOLS, middleware=[BoundaryMiddleware(boundary)])
    tell(plain=answers(agent.invoke(ASK)), ran=list(ran))

    ran.clear()
    middleware = BoundaryMiddleware(boundary, interrupts=True)
    saver = InMemorySaver()
    model = Script(messages=script(("send_mail", {"to": "bob"}, "d1")))
    agent = create_agent(model, TOOLS, middleware=[middleware], checkpointer=saver)
    config = {"configurable": {"thread_id": "t"}}
    stopped = agent.invoke(ASK, config)
    [asked] = stopped["__interrupt__"]
    tell(stopped=asked.value, ran=list(ran))
    too_early = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    tell(too_early=len(too_early["__interrupt__"]), ran=list(ran))
    approve_all()
    result = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), config)
    tell(resumed=answers(result), ran=list(ran))


async def in_loop() -> None:
    ran.clear()
    async with AsyncBoundary(wait_s=0) as boundary:
        model = Script(messages=script(("look_up", {"word": "emu"}, "e1"), ("secret_tool", {}, "e2")))
        agent = create_agent(model, TOOLS, middleware=[BoundaryMiddleware(boundary)])
        tell(in_loop=answers(await agent.ainvoke(ASK)), ran=list(ran))


asyncio.run(in_loop())
