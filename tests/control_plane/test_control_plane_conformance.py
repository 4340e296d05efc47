"""The control plane's harness: green on ours, and red on each control plane that breaks the rule it checks."""

import asyncio
import itertools
import json
import re
from collections import Counter

import msgspec
import pytest
import pytest_asyncio

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.system import SystemClock, SystemEntropy
from briefcase.core.fleet import batches
from briefcase.core.fleet.batches import BatchError, read_batch
from briefcase.core.jose import dpop
from briefcase.core.jose.dpop import ProofWindow
from briefcase.edges.conformance.control_plane import CHECKS, check_control_plane
from briefcase.edges.conformance.fleet_subject import FleetSubject
from briefcase.edges.conformance.report import Status
from briefcase.edges.control_plane import app, bundles, device_calls, devices, keys, relay, siblings, uploads
from briefcase.edges.control_plane.admin_tokens import AdminTokens
from briefcase.edges.control_plane.administrators import ADMIN, APPROVER, AUDITOR, Administrator
from briefcase.edges.control_plane.bundles import Bundles
from briefcase.edges.control_plane.devices import Devices
from briefcase.model.errors import CallerError
from briefcase.model.ports import HttpResponse
from support.commands import run_command
from support.fleet_server import ADMIN_TOKEN, AUDITOR_TOKEN, RunningControlPlane
from support.lenient_proofs import believing, claims_of, lenient

pytestmark = pytest.mark.asyncio(loop_scope="module")


class PlaneEntropy(SystemEntropy):
    """The control plane's, which a test may take from it without taking the harness's."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def real(shared_postgres, tmp_path_factory):
    directory = tmp_path_factory.mktemp("conformance") / "control-plane"
    url = shared_postgres.new_database()
    async with RunningControlPlane(url, directory, clock=SystemClock(), entropy=PlaneEntropy()) as running:
        yield running


ANY = re.compile(".*")
APPROVALS = "^/v1/admin/approvals/"


class Behind:
    """The way out, with something before the control plane that changes its answers.

    Args:
        change: (method, path, status, headers, body) -> status, headers, body.
        reaches: the paths, without their query, that get as far as the control plane; the others are 404.
    """

    def __init__(self, outbound, change, reaches) -> None:
        self._outbound = outbound
        self._change = change
        self._reaches = reaches

    async def request(self, request):
        path = "/" + request.url.split("/", 3)[3]
        if not self._reaches.fullmatch(path.partition("?")[0]):
            return HttpResponse(404, {}, b"")
        answer = await self._outbound.request(request)
        return HttpResponse(*self._change(request.method, path, answer.status, dict(answer.headers), answer.body))


async def examine(plane, *, change=None, reaches=ANY, only=(), admin_token=ADMIN_TOKEN, auditor_token=AUDITOR_TOKEN):
    outbound = GuardedOutbound([plane.address.removeprefix("http://")])
    clock = SystemClock()
    way = outbound if change is None else Behind(outbound, change, reaches)
    subject = FleetSubject(
        plane.address, way, clock, SystemEntropy(), admin_token=admin_token, auditor_token=auditor_token
    )
    try:
        return await check_control_plane(subject, clock, only=only)
    finally:
        await outbound.close()


def ended(report, status):
    return {check.name: check.detail for check in report.checks if check.status is status}


# --- ours -------------------------------------------------------------------------------------------------------------

NOT_ALWAYS = {"keys", "witness"}
OPTIONAL = {
    "receipts_again", "receipts_fork", "receipts_watermark", "remote_signer", "remote_signer_refusals",
    "ready", "metrics", "etag", "wait_held", "wait_woken", "wait_revoked", "freshness", "keys", "mandatory",
    "devices_listed", "device_status", "device_revoked", "device_rotated", "rollout", "named_tokens", "tenants", "acts",
    "witness", "relay_carried", "relay_ended", "relay_roles",
}  # fmt: skip


async def test_our_control_plane_passes_every_check(real):
    before = (await real.admin("GET", "/v1/admin/policy")).body["policy_bundle"]["bundle"]
    report = await examine(real, auditor_token=None)
    assert ended(report, Status.FAILED) == {}
    lacks = ended(report, Status.NOT_OFFERED).keys()
    assert lacks <= NOT_ALWAYS
    assert (report.ok, report.skipped, report.first_broken) == (True, 0, "")
    assert report.passed == len(CHECKS) - len(lacks)
    after = (await real.admin("GET", "/v1/admin/policy")).body["policy_bundle"]["bundle"]
    assert (after["policy_text"], after["budgets"]) == (before["policy_text"], before["budgets"])
    listed = (await real.admin("GET", "/v1/admin/devices")).body["devices"]
    assert {device["status"] for device in listed} == {"revoked"}  # those of the harness


async def test_the_report_holds_no_token(real):
    text = msgspec.json.encode(await examine(real, only=("enrolled", "token_wrong", "auditor"))).decode()
    assert json.loads(text)["passed"] == 4
    assert not [secret for secret in (ADMIN_TOKEN, AUDITOR_TOKEN, "eyJ") if secret in text]


async def test_without_a_token_what_anybody_may_ask_is_checked_and_the_rest_skipped_with_its_reason(real):
    before = (await real.admin("GET", "/v1/admin/policy")).body
    report = await examine(real, admin_token=None, auditor_token=None)
    assert report.ok is True
    passed = {check.name for check in report.checks if check.status is Status.PASSED}
    assert passed - {"witness"} == {"health", "unknown_path", "token_missing", "token_wrong", "ready"}
    assert ended(report, Status.NOT_OFFERED).keys() <= {"witness"}
    assert all(
        "was given" in detail or detail == "nothing was published" for detail in ended(report, Status.SKIPPED).values()
    )
    assert (await real.admin("GET", "/v1/admin/policy")).body == before


async def test_a_control_plane_with_no_more_than_the_least_conforms_and_its_lacks_are_named(real):
    report = await examine(real, change=with_the_least, reaches=LEAST)
    assert ended(report, Status.FAILED) == {}
    assert ended(report, Status.NOT_OFFERED).keys() == OPTIONAL
    assert all(ended(report, Status.NOT_OFFERED).values())


async def test_an_address_where_nothing_answers_passes_nothing(real):
    outbound = GuardedOutbound(["127.0.0.1:9"])
    subject = FleetSubject("http://127.0.0.1:9", outbound, SystemClock(), SystemEntropy(), admin_token=ADMIN_TOKEN)
    report = await check_control_plane(subject, SystemClock())
    await outbound.close()
    assert (report.ok, report.passed, report.first_broken) == (False, 0, "health")


async def test_a_check_that_is_none_is_refused(real):
    with pytest.raises(CallerError, match="no check `nothing`"):
        await examine(real, only=("nothing",))


LEAST = re.compile(r"/health|/v1/admin/(policy|devices/enroll)|/v1/audit/receipts|/v1/devices/[^/]+/(policy|receipts)")
ADDED = {"freshness", "mandatory", "last_receipt_id", "remote_signer", "next_sync_ms"}


def with_the_least(_method, _path, status, headers, body):
    """What a control plane answers that has only what each must have."""
    headers.pop("etag", None)
    answer = json.loads(body) if body else {}
    if answer.get("code") == "receipt_fork" or (answer.get("stored") == 0 and "last_receipt_id" in answer):
        return 400, headers, b'{"code":"receipt_id_not_monotonic","message":"receipt_id_not_monotonic"}'
    if ADDED & answer.keys():
        body = json.dumps({name: value for name, value in answer.items() if name not in ADDED}).encode()
    return status, headers, body


# --- a broken control plane for each check ----------------------------------------------------------------------------


def plain(_monkeypatch):
    pass


def patched(owner, name, value):
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


def answering(change, *, at="", method="", when=lambda _status: True):
    """Something before the control plane that changes an answer's JSON: document -> document, or status and both."""

    def changed(asked, path, status, headers, body):
        if not re.search(at, path) or (method and asked != method) or not when(status) or not body:
            return status, headers, body
        answer = change(json.loads(body))
        status, answer = answer if isinstance(answer, tuple) else (status, answer)
        return status, headers, json.dumps(answer, ensure_ascii=False).encode()

    return changed


def member(name, change, *, at="", method=""):
    """One member of a good answer changed; None takes it away."""

    def changed(answer):
        got = change(answer.get(name))
        return {key: value for key, value in {**answer, name: got}.items() if value is not None}

    return answering(changed, at=at, method=method, when=lambda status: status == 200)


def other_word(word, *, at=""):
    return answering(lambda answer: {**answer, "code": "another"} if answer.get("code") == word else answer, at=at)


def other_status(old, new, *, at="", method=""):
    def changed(asked, path, status, headers, body):
        is_it = status == old and re.search(at, path) and method in {"", asked}
        return new if is_it else status, headers, body

    return changed


def of_bundle(**changes):
    """Members of a bundle changed after it was signed."""

    def change(signed):
        bundle = signed["bundle"]
        return {**signed, "bundle": {**bundle, **{name: to(bundle[name]) for name, to in changes.items()}}}

    return lambda at, method="": member("policy_bundle", change, at=at, method=method)


def tampered(sealed):
    return {**sealed, "payload": sealed["payload"][:-8] + "AAAAAAAA"}


def any_token(monkeypatch):
    async def check(_self, tokens, *_roles):
        device_calls.bearer_of(tokens)
        return Administrator("default", "anybody", ADMIN, is_first=True)

    monkeypatch.setattr(AdminTokens, "check", check)


def any_role(monkeypatch):
    check = AdminTokens.check
    monkeypatch.setattr(AdminTokens, "check", lambda self, tokens, *_: check(self, tokens, ADMIN, AUDITOR))


def any_approver(monkeypatch):
    check = AdminTokens.check
    everybody = (ADMIN, AUDITOR, APPROVER)
    monkeypatch.setattr(AdminTokens, "check", lambda self, tokens, *_: check(self, tokens, *everybody))


def let_in(**forced):
    """A control plane that does not look at something the database said of a call."""

    def patch(monkeypatch):
        check = device_calls.check_let_in

        def lets_in(tenant, **said):
            check(tenant, **{**said, **forced})

        monkeypatch.setattr(device_calls, "check_let_in", lets_in)
        monkeypatch.setattr(uploads, "check_let_in", lets_in)

    return patch


def no_gaps(monkeypatch):
    def read(body):
        batch = read_batch(body)
        if any(after.id != before.id + 1 for before, after in itertools.pairwise(batch)):
            raise BatchError("receipt_id_not_monotonic", "a gap")
        return batch

    monkeypatch.setattr(app, "read_batch", read)


def any_hash(monkeypatch):
    def read(body):
        try:
            return read_batch(body)
        except BatchError as error:
            if error.word != "receipt_hash_mismatch":
                raise
            return msgspec.json.decode(body, type=Batch).receipts

    monkeypatch.setattr(app, "read_batch", read)


def torn(monkeypatch):
    """Stores what comes before a receipt that is not as it must be."""

    def read(body):
        try:
            return read_batch(body)
        except BatchError as error:
            if error.word != "receipt_hash_mismatch":
                raise
            return msgspec.json.decode(body, type=Batch).receipts[:-1]

    monkeypatch.setattr(app, "read_batch", read)


class Batch(msgspec.Struct):
    receipts: list[batches.UploadedReceipt]


def forks_taken(monkeypatch):
    judge = uploads.judge_batch

    def judged(batch, held):
        verdict = judge(batch, held)
        return uploads.Append(()) if isinstance(verdict, uploads.Rejected) else verdict

    monkeypatch.setattr(uploads, "judge_batch", judged)


def same_token(monkeypatch):
    monkeypatch.setattr(PlaneEntropy, "token", lambda _self: "a-token-that-every-device-has")


def revokes_nothing(owner, result):
    async def revoke(*_):
        return result

    return patched(owner, "revoke", revoke)


def rotates_nothing(monkeypatch):
    async def rotate(*_):
        return "a-token-that-was-not-stored"

    monkeypatch.setattr(Devices, "rotate", rotate)


def one_tenant(monkeypatch):
    make = AdminTokens.make
    monkeypatch.setattr(
        AdminTokens, "make", lambda self, admin, new: make(self, admin, msgspec.structs.replace(new, tenant=""))
    )


def publishes_beside_a_rollout(monkeypatch):
    async def check(*_):
        return None

    monkeypatch.setattr(Bundles, "check_none_under_way", check)


def not_taken_back():
    """After the second publication an administrator sees another text than it had."""
    published = Counter()

    def changed(method, path, status, headers, body):
        if path == "/v1/admin/policy":
            published[method] += 1
            if method == "GET" and published["POST"] > 1:
                answer = json.loads(body)
                answer["policy_bundle"]["bundle"]["policy_text"] += "changed"
                body = json.dumps(answer).encode()
        return status, headers, body

    return changed


def stale_freshness(monkeypatch):
    monkeypatch.setattr(siblings, "FRESH_S", -1)
    monkeypatch.setattr(siblings, "_RENEWED_S", -1)


LONG = r"wait_ms=20000"
UPLOAD = r"/receipts$"
AUDIT = r"^/v1/audit/receipts"
ENROL = r"enroll$"
DEVICE_POLICY = r"^/v1/devices/[^/]+/policy"

# check -> how a control plane breaks it: a patch of its inside, or something in front of it
BROKEN = {
    "health": [
        (plain, member("status", lambda _: "fine", at="/health")),
        (plain, other_status(200, 204, at="/health")),
    ],
    "unknown_path": [(plain, other_status(404, 200, at="nothing")), (plain, other_status(405, 200))],
    "token_missing": [(plain, other_word("missing_token")), (plain, other_status(401, 403, at=AUDIT))],
    "token_wrong": [(any_token, None), (plain, other_word("invalid_token"))],
    "token_of_device": [(any_token, None)],
    "auditor": [(any_role, None), (plain, other_status(200, 401, at=AUDIT))],
    "policy_shown": [
        (plain, of_bundle(updated_at_rfc3339=lambda text: text.replace("+00:00", "Z"))("admin/policy")),
        (plain, of_bundle(compatibility_profile=lambda _: "aacp_v2")("admin/policy")),
        (plain, of_bundle(bundle_id=lambda _: 0)("admin/policy")),
    ],
    "policy_published": [
        (plain, of_bundle(bundle_id=lambda _: 1)("admin/policy")),
        (plain, of_bundle(policy_text=lambda text: f" {text}")("admin/policy")),
        (plain, of_bundle(budgets=lambda _: {})("admin/policy", "POST")),
        (plain, of_bundle(policy_text=lambda text: text[:-1])("admin/policy", "GET")),
    ],
    "policy_signed": [
        (patched(keys, "signed_bytes", lambda bundle: msgspec.json.encode(bundle, order="sorted")), None),
        (plain, of_bundle(policy_text=lambda text: text.replace("\u2028", "\n"))("admin/policy")),
    ],
    "policy_bounds": [
        (patched(bundles, "check_text", lambda _: None), None),
        (plain, other_word("invalid_policy_text")),
    ],
    "policy_cedar": [(plain, other_word("invalid_policy_text"))],
    "policy_budgets": [
        (patched(bundles, "check_budgets", lambda _: None), None),
        (plain, other_word("invalid_budget")),
    ],
    "policy_form": [(plain, other_status(400, 500, at="admin/policy"))],
    "enrolled": [
        (plain, member("device_id", lambda _: "another", at=ENROL)),
        (plain, member("policy_signing_pubkey_b64", lambda key: key[::-1], at=ENROL)),
        (plain, member("policy_bundle", lambda _: None, at=ENROL)),
    ],
    "enrol_name": [(patched(devices, "MAX_NAME_CHARS", 1_000), None), (plain, other_word("invalid_device_name"))],
    "enrol_key": [(plain, other_word("invalid_device_pubkey")), (plain, other_status(400, 200, at=ENROL))],
    "enrol_form": [(plain, other_status(400, 500, at=ENROL))],
    "enrol_again": [(same_token, None)],
    "audit_pages": [
        (plain, member("receipts", lambda receipts: receipts[::-1], at=AUDIT)),
        (patched(app, "_page", lambda _: app.Page(500)), None),
    ],
    "device_policy": [(plain, of_bundle(bundle_id=lambda number: number + 1)(DEVICE_POLICY))],
    "device_token": [(let_in(is_token=True, is_key=True, is_new=True), None), (plain, other_word("missing_token"))],
    "device_unknown": [(plain, other_word("unknown_device"))],
    "proof_missing": [(plain, other_word("missing_dpop")), (plain, other_status(401, 200, at=UPLOAD))],
    "proof_key": [(let_in(is_key=True, is_new=True), None)],
    "proof_method": [(lenient(device_calls, method=None), None)],
    "proof_url": [(lenient(device_calls, url=None), None)],
    "proof_query": [(plain, other_status(200, 401, at=r"\?a=1"))],
    "proof_token": [(lenient(device_calls, access_token=None), None)],
    "proof_window": [
        (patched(device_calls, "WINDOW", ProofWindow(max_age_s=600, max_future_s=120)), None),
        (patched(device_calls, "WINDOW", ProofWindow(max_age_s=120, max_future_s=600)), None),
        (patched(device_calls, "WINDOW", ProofWindow(max_age_s=60, max_future_s=120)), None),
    ],
    "proof_jti": [(believing(device_calls, lambda values: "jti" not in claims_of(values)), None)],
    "proof_forged": [
        (patched(dpop, "check_signature", lambda *_: None), None),
        (plain, other_word("invalid_dpop")),
    ],
    "proof_once": [
        (let_in(is_new=True), None),
        (plain, other_word("replay_detected")),
        (plain, other_status(409, 401)),
    ],
    "receipts_stored": [
        (plain, answering(lambda answer: json.loads(json.dumps(answer, sort_keys=True)), at=AUDIT)),
        (plain, member("stored", lambda stored: stored + 1, at=UPLOAD)),
    ],
    "receipts_gaps": [(no_gaps, None)],
    "receipts_bound": [
        (patched(batches, "MAX_RECEIPTS", 499), None),
        (patched(batches, "MAX_RECEIPTS", 501), None),
        (plain, other_word("too_many_receipts")),
    ],
    "receipts_prev": [(plain, other_word("receipt_prev_hash_mismatch"))],
    "receipts_hash": [(any_hash, None), (plain, other_word("receipt_hash_mismatch"))],
    "receipts_monotonic": [(plain, other_word("receipt_id_not_monotonic")), (forks_taken, None)],
    "receipts_whole": [(torn, None)],
    "receipts_again": [(plain, member("stored", lambda stored: stored or 2, at=UPLOAD))],
    "receipts_fork": [(forks_taken, None), (plain, other_word("receipt_fork"))],
    "receipts_watermark": [(plain, member("last_receipt_id", lambda number: number - 1, at=UPLOAD))],
    "remote_signer": [
        (plain, member("signature_b64", lambda text: text[::-1].replace("=", "A"), at="sign$")),
        (plain, member("remote_signer", lambda _: None, at=ENROL)),
    ],
    "remote_signer_refusals": [
        (patched(app, "MAX_MESSAGE_BYTES", 1 << 20), None),
        (plain, other_word("invalid_key_id")),
    ],
    "ready": [(plain, other_status(200, 500, at="/ready"))],
    "metrics": [(plain, other_status(401, 200, at="/metrics")), (plain, other_status(200, 500, at="/metrics"))],
    "etag": [
        (plain, lambda m, p, s, h, b: (s, {**h, "etag": '"1"'} if "etag" in h else h, b)),
        (plain, other_status(304, 200, at=DEVICE_POLICY)),
    ],
    "wait_held": [(patched(app, "MAX_WAIT_MS", 0), None)],
    "wait_woken": [(plain, lambda m, p, s, h, b: (304, h, b"") if re.search(LONG, p) else (s, h, b))],
    "wait_revoked": [(plain, lambda m, p, s, h, b: (304, h, b"") if re.search(LONG, p) else (s, h, b))],
    "freshness": [
        (plain, member("freshness", tampered, at=DEVICE_POLICY)),
        (stale_freshness, None),
    ],
    "keys": [
        (plain, member("keys", lambda _: {"payload": "e30", "payloadType": "x", "signatures": []}, at=DEVICE_POLICY))
    ],
    "mandatory": [
        (plain, member("mandatory", lambda _: None, at=DEVICE_POLICY)),
        (plain, member("mandatory", lambda sealed: sealed and tampered(sealed), at=DEVICE_POLICY)),
        (patched(siblings, "check_mandatory", lambda _: None), None),
    ],
    "devices_listed": [
        (plain, member("devices", lambda _: [], at="devices$")),
        (plain, other_status(404, 200, at="devices/")),
    ],
    "device_status": [(plain, member("running_bundle_id", lambda _: 7, at="^/v1/admin/devices/"))],
    "device_revoked": [(revokes_nothing(Devices, None), None)],
    "device_rotated": [(rotates_nothing, None)],
    "rollout": [
        (publishes_beside_a_rollout, None),
        (plain, member("state", lambda _: "done", at="rollouts")),
        (plain, other_word("gate_shut")),
    ],
    "named_tokens": [(revokes_nothing(AdminTokens, {"status": "revoked"}), None), (any_role, None)],
    "tenants": [(one_tenant, None)],
    "acts": [
        (plain, answering(lambda answer: {"acts": answer["acts"][1:]}, at="acts")),
        (plain, answering(lambda answer: json.loads(json.dumps(answer).replace("policy_", "x")), at="acts")),
    ],
    "audit_search": [(patched(app, "SEARCHED", {"decision": "decision"}), None)],
    "witness": [(plain, other_status(400, 200, at="/witness"))],
    "relay_carried": [
        (plain, member("sealed_b64", lambda _: "b3RoZXI", at=APPROVALS)),
        (plain, answering(lambda got: json.loads(json.dumps(got).replace("approve_b", "deny_b")), at="answers")),
        (patched(relay, "SAY", relay.SAY + " and false"), None),
        (patched(relay, "OPEN", relay.OPEN.replace("device = $1", "$1::uuid is not null")), None),
    ],
    "relay_ended": [
        (patched(relay, "END", relay.END.replace("sealed = '', ", "")), None),
        (patched(relay, "END", relay.END + " and false"), None),
    ],
    "relay_roles": [(any_approver, None)],
    "left_as_found": [(plain, not_taken_back())],
}


async def test_there_is_a_broken_control_plane_for_each_check():
    assert BROKEN.keys() == {check.name for check in CHECKS}


@pytest.mark.parametrize(
    ("name", "patch", "change"),
    [(name, *how) for name, hows in BROKEN.items() for how in hows],
    ids=[f"{name} {number}" for name, hows in BROKEN.items() for number, _ in enumerate(hows)],
)
async def test_each_check_is_red_on_a_control_plane_that_breaks_its_rule(real, monkeypatch, name, patch, change):
    patch(monkeypatch)
    report = await examine(real, change=change, only={name, "policy_published"} if name == "left_as_found" else {name})
    check = next(check for check in report.checks if check.name == name)
    assert check.status is Status.FAILED
    assert check.detail
    assert (report.ok, report.first_broken) == (False, name)


# --- as it is typed ---------------------------------------------------------------------------------------------------


async def typed(plane, tmp_path, *words, url="", token=ADMIN_TOKEN):
    file = tmp_path / "admin.token"
    file.write_text(f"{token}\n")
    command = (
        "conformance",
        "control-plane",
        "--base-url",
        url or plane.address,
        "--admin-token-file",
        str(file),
        *words,
    )
    environ = {"BRIEFCASE_DATA_DIR": str(tmp_path / "data"), "PATH": "/usr/bin:/bin"}
    return await asyncio.to_thread(run_command, environ, *command)


async def test_a_run_is_a_table_a_document_and_a_file(real, tmp_path):
    out = tmp_path / "reports" / "report.json"
    ran = await typed(real, tmp_path, "--only", "proof_once", "--only", "keys", "--out", str(out))
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"passed +proof_once", ran.stdout)
    assert re.search(r"not offered +keys", ran.stdout)
    assert f"{real.address} conforms to aacp_v1: 2 passed, 0 failed, 0 skipped, 1 not offered" in ran.stdout
    assert json.loads(out.read_text())["passed"] == 2
    ran = await typed(real, tmp_path, "--only", "proof_once", "--json")
    assert [check["name"] for check in json.loads(ran.stdout)["checks"]] == ["proof_once", "left_as_found"]


async def test_the_first_broken_clause_is_named_and_the_exit_code_says_so(real, tmp_path):
    ran = await typed(real, tmp_path, "--only", "enrolled", token="a-token-that-is-nobodys")
    assert ran.returncode == 7
    assert "first broken: `enrolled`: an enrolment answers a token, the signing key" in ran.stderr
    assert "does not conform" in ran.stdout
    assert "nobodys" not in ran.stdout + ran.stderr


async def test_what_is_no_address_or_no_token_is_refused_by_name(real, tmp_path):
    ran = await typed(real, tmp_path, url="fleet.example")
    assert (ran.returncode, "--base-url" in ran.stderr) == (2, True)
    ran = await typed(real, tmp_path, token="two words")
    assert (ran.returncode, "expected a token on one line" in ran.stderr) == (2, True)
    ran = await typed(real, tmp_path, "--only", "nothing")
    assert (ran.returncode, "there is no check `nothing`" in ran.stderr) == (2, True)
