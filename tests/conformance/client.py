"""The daemon's own MCP client as the official suite's client under test: `client.py URL`, one scenario a run.

It is the registry with all that is behind it (discovery, registration, tokens, proofs, transport); this program plays
the operator who adds the server, the person whose browser agrees to a log-in, and the agent who calls every tool. It
exits 0 when the server was connected to and every call was answered, 1 otherwise.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
import urllib.request
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

if lock := os.environ.get("CONFORMANCE_LOCK"):  # the suite starts every client at once: one at a time is fair
    fcntl.flock(os.open(lock, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS))

from briefcase.adapters.net.outbound import GuardedOutbound  # noqa: E402
from briefcase.adapters.oauth.registration import LOOPBACK_REDIRECT  # noqa: E402
from briefcase.adapters.servers.connection import State  # noqa: E402
from briefcase.core.mcp.call_options import CallOptions, ClientCapabilities, ElicitationModes  # noqa: E402
from briefcase.model.errors import BriefcaseError, UpstreamError  # noqa: E402
from support.servers import Rig  # noqa: E402 - found by path

SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
CONTEXT = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
CLIENT_DOCUMENT = "https://conformance-test.local/client-metadata.json"
SHOWN_SCHEMA, SCHEMA_ECHO = "json_schema_2020_12_tool", "json_schema_echo"
MAX_LOGINS = 3  # as a person would: not again and again
OPTIONS = CallOptions(capabilities=ClientCapabilities(elicitation=ElicitationModes()), progress=True)
WAIT_S = 15.0


class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_) -> None:
        """The browser's next stop is ours: it is read, not gone to."""


def browse(address: str) -> dict:
    """Where a browser that agrees to everything is sent back to."""
    try:
        with urllib.request.build_opener(Stay).open(address, timeout=10):
            raise AssertionError("the authorization server sent nobody back")
    except urllib.error.HTTPError as answer:
        with answer:
            return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


class Session:
    """One run against one server."""

    def __init__(self, outbound) -> None:
        self.rig = Rig(outbound)
        self.logins = 0

    @property
    def connection(self):
        return self.rig.registry.connection("fx")

    async def add(self, url: str) -> None:
        oauth = {"client_metadata_url": CLIENT_DOCUMENT}
        if "client_secret" in CONTEXT:
            self.rig.operator_secrets.kept["app"] = CONTEXT["client_secret"].encode()
            oauth |= {"client_id": CONTEXT["client_id"], "client_secret": "app", "issuer": CONTEXT.get("issuer", "")}
        await self.rig.registry.set_server("fx", {"endpoint_url": url, "oauth": oauth}, "operator")

    async def log_in(self) -> None:
        if self.logins == MAX_LOGINS:
            raise SystemExit("the server wants to be logged in to again and again")
        self.logins += 1
        config, logins = self.connection.config, self.rig.parts.logins
        address, _ = await logins.start(config, "", LOOPBACK_REDIRECT.replace("1/", "1:7777/"), None)
        back = await asyncio.to_thread(browse, address)
        await logins.exchange(config, back["code"], back["state"], back.get("iss"))
        await self.rig.registry.reopen("fx")

    async def ready(self) -> None:
        """Connected, by as many log-ins as that takes."""
        async with asyncio.timeout(WAIT_S):
            while self.connection.state is not State.READY:
                if (await self.rig.parts.logins.standing(self.connection.config)).needs_login:
                    await self.log_in()
                await asyncio.sleep(0.01)

    async def call(self, name: str, args: dict) -> None:
        """One call, its questions answered; again after a log-in that it turns out to need."""
        while True:
            await self.ready()
            try:
                result = await self.rig.call(f"fx.{name}", args, options=OPTIONS)
                break
            except UpstreamError:
                if not (await self.rig.parts.logins.standing(self.connection.config)).needs_login:
                    raise
                await self.log_in()
        while result.get("resultType") == "input_required":
            going_on = {
                "target": f"fx.{name}",
                "arguments": args,
                "state": result["requestState"],
                "responses": {key: answer_to(asked) for key, asked in result["inputRequests"].items()},
            }
            result = await self.rig.call("fx:continue", going_on, options=OPTIONS)
        sys.stderr.write(f"{name}: {json.dumps(result)[:200]}\n")

    async def try_operations(self) -> None:
        """What a server offers beside tools, where it says that it does."""
        capabilities = self.connection.capabilities
        if "resources" in capabilities:
            listed = await self.rig.call("fx:resources.list", {})
            for resource in listed.get("resources", []):
                await self.rig.call("fx:resources.read", {"uri": resource["uri"]})
        if "prompts" in capabilities:
            listed = await self.rig.call("fx:prompts.list", {})
            for prompt in listed.get("prompts", []):
                arguments = {argument["name"]: "x" for argument in prompt.get("arguments", [])}
                await self.rig.call("fx:prompts.get", {"name": prompt["name"], "arguments": arguments})


def answer_to(asked: dict) -> dict:
    """What a client answers that accepts every default."""
    fields = asked.get("params", {}).get("requestedSchema", {}).get("properties", {})
    return {"action": "accept", "content": {name: field.get("default", True) for name, field in fields.items()}}


def example_of(schema: dict) -> object:
    """Some value of a schema."""
    samples = {"string": "x", "integer": 1, "number": 1, "boolean": True, "array": [], "null": None}
    if schema.get("type") != "object":
        return samples.get(schema.get("type"), "x")
    fields = schema.get("properties", {})
    return {name: example_of(fields.get(name, {})) for name in schema.get("required", [])}


def calls_of(rig: Rig) -> list[tuple[str, dict]]:
    """What to call: as the suite says, where it does; nulls are left out, as an agent's checked arguments have none."""
    if "toolCalls" in CONTEXT:
        given = [(call["name"], call["arguments"]) for call in CONTEXT["toolCalls"]]
        return [(name, {key: value for key, value in args.items() if value is not None}) for name, args in given]
    schemas = {spec.id.removeprefix("fx."): spec.input_schema for spec in rig.registry.specs() if spec.id[:3] == "fx."}
    if SCHEMA_ECHO in schemas:  # the suite wants another tool's schema back as it was listed
        return [(SCHEMA_ECHO, {"schema": schemas[SHOWN_SCHEMA]})]
    return [(name, example_of(schema)) for name, schema in schemas.items()]


async def main(url: str) -> int:
    outbound = GuardedOutbound(["localhost", "127.0.0.1", "[::1]"])
    session = Session(outbound)
    try:
        await session.add(url)
        await session.ready()
        for name, args in calls_of(session.rig):
            await session.call(name, args)
        await session.try_operations()
        for problem in session.connection.problems:
            sys.stderr.write(f"not offered: {problem.name}: {problem.problem}\n")
    except (BriefcaseError, TimeoutError) as error:
        hint = getattr(error, "hint", "")
        sys.stderr.write(f"{type(error).__name__}: {error} {hint}; {session.connection.problem}\n")
        return 1
    finally:
        await session.rig.registry.stop()
        await session.rig.parts.accounts.close()
        await outbound.close()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
