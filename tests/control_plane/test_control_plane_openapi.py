"""The control plane's OpenAPI document: its golden copy, each path that is served, and who may ask at each."""

import importlib.util
import json
import uuid
from pathlib import Path

import pytest

from briefcase.edges.control_plane.app import ControlPlaneApp
from briefcase.edges.control_plane.openapi import OPERATIONS, openapi_document
from support.fleet_schema import document, schema_of
from support.fleet_server import ADMIN_TOKEN, AUDITOR_TOKEN

ROOT = Path(__file__).parents[2]
RECORDED = json.loads((ROOT / "tests" / "fixtures" / "control_plane" / "recorded_requests.json").read_text())


def test_the_golden_document_is_what_the_code_says():
    found = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    golden = (ROOT / "docs" / "control-plane-openapi.json").read_text()
    assert golden == module.control_plane_openapi_json(), "run `make docs` and look at the difference"


async def test_each_path_that_is_served_is_described_and_no_other(plane):
    served = ControlPlaneApp(plane.services)._table
    assert [(each.method, each.path) for each in OPERATIONS] == list(served)


def test_each_operation_has_a_name_of_its_own_and_each_reference_leads_somewhere():
    names = [each.name for each in OPERATIONS]
    assert len(set(names)) == len(names)
    text = json.dumps(document(), separators=(",", ":"))
    for reference in {piece.split('"')[0] for piece in text.split('"$ref":"')[1:]}:
        found = document()
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.method} {each.path}")
async def test_an_operation_takes_whom_the_document_says_and_nobody_else(plane, operation):
    path = operation.path.format(device=uuid.uuid4(), approval=uuid.uuid4(), rollout=1, name="x")
    body = "{}" if operation.method == "POST" else None
    nobody = await plane.send(operation.method, path, body=body)
    if operation.security == ():
        assert nobody.status == (400 if operation.name == "add_checkpoint" else 200)
        return
    assert (nobody.status, nobody.word) == (401, "missing_token")
    if operation.roles == ("device",):
        device = await plane.new_device()
        path = path.replace(path.split("/")[3], device.id)
        headers = {"authorization": f"Bearer {device.token}"}
        got = await plane.send(operation.method, path, headers=headers, body=body)
        assert (got.word == "missing_dpop") == ("proof" in operation.security)
        assert got.word != "invalid_token"
        return
    made = await plane.admin("POST", "/v1/admin/tokens", {"name": "ada", "role": "approver"})
    tokens = {"auditor": AUDITOR_TOKEN, "approver": made.body["token"], "admin": ADMIN_TOKEN}
    for role, token in tokens.items():
        got = await plane.admin(operation.method, path, {} if body else None, token=token)
        assert (got.word == "invalid_token") == (role not in operation.roles), role


def test_what_was_recorded_of_another_control_plane_is_as_the_document_says():
    paths = {
        "admin_policy_set": ("POST", "/v1/admin/policy"),
        "admin_policy_set_odd_text": ("POST", "/v1/admin/policy"),
        "enroll": ("POST", "/v1/admin/devices/enroll"),
        "enroll_again_same_device": ("POST", "/v1/admin/devices/enroll"),
        "device_policy": ("GET", "/v1/devices/{device}/policy"),
        "receipts_empty": ("POST", "/v1/devices/{device}/receipts"),
        "receipts_500": ("POST", "/v1/devices/{device}/receipts"),
        "remote_signer_get": ("GET", "/v1/devices/{device}/remote-signer"),
        "remote_signer_sign": ("POST", "/v1/devices/{device}/remote-signer/sign"),
    }
    answers = {row["case"]: row["answer"] for row in RECORDED if row["case"] in paths}
    assert answers.keys() == paths.keys()
    for case, answer in answers.items():
        schema_of(*paths[case]).validate(answer)


def test_an_answer_that_lacks_a_member_is_not_as_the_document_says():
    schema = schema_of("GET", "/health", "default")
    schema.validate({"code": "not_found", "message": "nothing", "request_id": "1"})
    assert not schema.is_valid({"code": "not_found", "message": "nothing"})
    assert openapi_document()["paths"]["/v1/devices/{device}/policy"]["get"]["responses"].keys() == {
        "200", "304", "default",
    }  # fmt: skip
