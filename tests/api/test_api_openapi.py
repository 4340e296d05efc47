"""The OpenAPI document: its golden copy, its form, and that what is answered is what it says."""

import asyncio
import importlib.util
import inspect
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import orjson
import pytest

from briefcase.core.calls.flow import Calls
from briefcase.core.calls.ratelimits import RateLimit, RateLimiter
from briefcase.core.calls.settings import CallSettings
from briefcase.core.controls import Controls
from briefcase.core.grants.held import Grants
from briefcase.core.wire.reading import read_answer
from briefcase.edges.api import app
from briefcase.edges.api.openapi import openapi_document
from briefcase.model.types import ApprovalKind, Deny, NeedsApproval
from support.calls import FakeCallLog, call_with, decide_with
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.ledger import MemoryLedger
from support.policy import FakePolicy
from support.principals import AGENT
from support.redaction import NoRedaction
from support.tools import FakeTool, FakeTools, spec
from support.turns import FakeTurns

DOCS = Path(__file__).parents[2] / "docs"
CONTRACT = {
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/v1/identity"),
    ("GET", "/v1/profile"),
    ("GET", "/v1/tools"),
    ("POST", "/v1/tools/call"),
    ("POST", "/v1/decide"),
    ("POST", "/v1/outcomes"),
    ("GET", "/v1/approvals"),
    ("GET", "/v1/approvals/{id}"),
    ("POST", "/v1/approvals/{id}/approve"),
    ("POST", "/v1/approvals/{id}/deny"),
    ("GET", "/v1/receipts"),
    ("POST", "/v1/receipts/verify"),
    ("GET", "/v1/budgets"),
    ("POST", "/v1/budgets/{category}"),
    ("GET", "/v1/policy"),
    ("PUT", "/v1/policy"),
}


def generator():
    found = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_golden_document_is_what_the_code_says():
    assert (DOCS / "openapi.json").read_text() == generator().openapi_json(), (
        "run `make docs` and look at the difference"
    )


def test_every_endpoint_of_the_contract_is_there():
    assert {(route.method, route.path) for route in app.ROUTES} >= CONTRACT


def test_every_operation_has_a_name_of_its_own_and_every_reference_leads_somewhere():
    document = openapi_document()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names) == len(app.ROUTES)
    text = orjson.dumps(document).decode()
    for reference in {piece.split('"')[0] for piece in text.split('"$ref":"')[1:]}:
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


def test_no_two_wire_structs_share_a_name():
    structs = {}
    for route in app.ROUTES:
        module = inspect.getmodule(route.handler)
        for name, value in vars(module).items():
            if (
                inspect.isclass(value)
                and issubclass(value, msgspec.Struct)
                and value.__module__.startswith("briefcase.edges.api")
            ):
                assert structs.setdefault(name, value) is value, name


def schema_of(method: str, path: str) -> jsonschema_rs.Draft202012Validator:
    document = openapi_document()
    schema = document["paths"][path][method.lower()]["responses"]["200"]["content"]["application/json"]["schema"]
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


async def test_what_each_noun_answers_is_what_its_schema_says_and_its_struct_reads(rig):
    an_id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    asked = [
        ("GET", "/health", None),
        ("GET", "/ready", None),
        ("GET", "/v1/identity", None),
        ("GET", "/v1/profile", None),
        ("GET", "/v1/tools", None),
        ("GET", "/v1/approvals", None),
        ("GET", "/v1/approvals/{id}", None),
        ("POST", "/v1/approvals/{id}/approve", None),
        ("GET", "/v1/approvals/{id}", None),
        ("POST", "/v1/budgets/{category}", {"daily_limit_microusd": 1}),
        ("GET", "/v1/budgets", None),
        ("GET", "/v1/receipts", None),
        ("POST", "/v1/receipts/verify", None),
        ("GET", "/v1/policy", None),
        ("PUT", "/v1/policy", {"policy_text": "permit (principal, action, resource);"}),
        ("POST", "/v1/agents", {"name": "new"}),
        ("GET", "/v1/agents", None),
        ("POST", "/v1/agents/{name}/revoke", None),
        ("PUT", "/v1/secrets/{name}", {"value": "x" * 8}),
        ("GET", "/v1/secrets", None),
        ("DELETE", "/v1/secrets/{name}", None),
    ]

    rig.store_approval()
    for method, path, body in asked:
        filled = path.format(id=an_id, category="read", name=AGENT.name)
        status, _, answer = await rig.ask(method, filled, body)
        assert status == 200, (method, path, answer)
        schema_of(method, path).validate(answer)
        (kind,) = {route.answer for route in app.ROUTES if (route.method, route.path) == (method, path)}
        document = read_answer(orjson.dumps(answer), kind, f"{method} {path}")
        assert orjson.loads(msgspec.json.encode(document)) == answer  # no member lost, none made up
    assert (await rig.ask("POST", f"/v1/approvals/{an_id}/deny"))[0] == 200  # it was not used yet
    assert (await rig.ask("POST", f"/v1/approvals/{an_id}/deny"))[0] == 409
    rig.store_approval()
    denied = await rig.ask("POST", f"/v1/approvals/{an_id}/deny")
    schema_of("POST", "/v1/approvals/{id}/deny").validate(denied[2])
    schema_of("GET", "/v1/receipts/{id}").validate((await rig.ask("GET", "/v1/receipts/1"))[2])


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (None, {"ok", "allowed"}),
        (Deny("policy_denied"), {"denied"}),
        (NeedsApproval(ApprovalKind.LOCAL, "approval_by_policy"), {"approval_required"}),
    ],
)
async def test_what_the_flow_of_a_call_answers_is_what_its_schema_says(verdict, status):
    clock = FakeClock()
    ledger = MemoryLedger(clock)
    calls = Calls(
        ledger=ledger,
        policy=lambda: FakePolicy(verdict),
        tools=FakeTools(FakeTool(spec())),
        redactor=NoRedaction(),
        clock=clock,
        entropy=FakeEntropy(),
        controls=Controls(ledger, clock),
        grants=Grants(ledger),
        limiter=RateLimiter(RateLimit(per_second=1_000, burst=1_000)),
        new_event=asyncio.Event,
        turns=FakeTurns(),
        log=FakeCallLog(),
        settings=CallSettings(),
    )

    def body(number: int) -> bytes:
        context = {"request_id": f"00000000-0000-4000-8000-00000000000{number}"}
        return orjson.dumps({"call": {"tool_id": "echo", "args": {}, "context": context}})

    called = (await call_with(calls, AGENT, body(1))).payload
    decided = (await decide_with(calls, AGENT, body(2))).payload
    schema_of("POST", "/v1/tools/call").validate(called)
    schema_of("POST", "/v1/decide").validate(decided)
    assert {called["status"], decided["status"]} == status
    if "receipt_id" in decided:
        outcome = orjson.dumps({"receipt_id": decided["receipt_id"], "status": "ok"})
        schema_of("POST", "/v1/outcomes").validate((await calls.close(AGENT, outcome)).payload)
