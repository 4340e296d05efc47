"""What a control plane may offer beyond the least: looked for first, and held to the contract where it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.core.fleet import words
from briefcase.core.fleet.bundles import BundleError, MandatoryPart
from briefcase.core.fleet.envelopes import read_freshness, read_mandatory, read_next_key
from briefcase.core.receipts.chain import GENESIS_HASH_HEX
from briefcase.edges.conformance.checks import BrokenError, Check, NotOfferedError, SkipError, body_of, text_of
from briefcase.edges.conformance.fleet_receipts import AuditedReceipt, audited, chain, check_kept, hash_of, upload_of
from briefcase.edges.conformance.fleet_subject import (
    ACTS,
    DEVICES,
    ENROL,
    MANDATORY,
    MARK,
    NOWHERE,
    POLICY,
    RECEIPTS,
    ROLLOUTS,
    TOKENS,
    FleetSubject,
    SubjectDevice,
    bundle_of,
    expect_word,
    offered,
    verified,
)
from briefcase.model.ports import HttpResponse
from briefcase.model.types import JsonObject, JsonValue

TENANT: Final = "conformance"
HELD_MS: Final = 400
LEAST_HELD_MS: Final = 300
LONG_MS: Final = 20_000
CANARY_PERMILLE: Final = 1
NOT_OURS: Final = frozenset({words.INVALID_TOKEN, words.UNKNOWN_DEVICE})
_NS_PER_MS: Final = 1_000_000


async def _ready(subject: FleetSubject) -> None:
    body_of(offered(await subject.ask("GET", "/ready"), "GET /ready"), HTTPStatus.OK, "`GET /ready`")


async def _metrics(subject: FleetSubject) -> None:
    response = offered(await subject.admin("GET", "/metrics"), "GET /metrics")
    if response.status != HTTPStatus.OK or b"# TYPE " not in response.body:
        raise BrokenError("expected `GET /metrics` to answer figures as Prometheus reads them")
    response = await subject.ask("GET", "/metrics")
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.MISSING_TOKEN, "`GET /metrics` without a token")


# --- waiting for a bundle ---------------------------------------------------------------------------------------------


async def _etag(subject: FleetSubject) -> None:
    device = await subject.device()
    known = await _etag_of(device)
    response = await _ask_again(device, known)
    if response.status != HTTPStatus.NOT_MODIFIED or response.body:
        raise BrokenError(f"expected the known `ETag` to be answered with 304 and no body, got {response.status}")
    published = await subject.publish()
    response = await _ask_again(device, known)
    changed = verified(body_of(response, HTTPStatus.OK, "the `ETag` from before a publication"), device.signing_key_b64)
    if changed != published or response.headers.get("etag") == known:
        raise BrokenError("expected a publication to change what a device gets, and its `ETag`")


async def _held(subject: FleetSubject) -> None:
    device = await subject.device()
    known = await _etag_of(device)
    begun_ns = subject.clock.monotonic_ns()
    response = await _ask_again(device, known, wait_ms=HELD_MS)
    held_ms = (subject.clock.monotonic_ns() - begun_ns) // _NS_PER_MS
    if response.status != HTTPStatus.NOT_MODIFIED:
        raise BrokenError(f"expected a wait in which nothing changed to end with 304, got {response.status}")
    if held_ms < LEAST_HELD_MS:
        raise BrokenError(f"expected `wait_ms={HELD_MS}` to be held, got an answer after {held_ms} ms")


async def _woken(subject: FleetSubject) -> None:
    device = await subject.device()
    async with _waiting(device) as waiting:
        published = await subject.publish()
        response = await waiting
    answer = body_of(response, HTTPStatus.OK, "a wait during which a bundle was published")
    if verified(answer, device.signing_key_b64) != published:
        raise BrokenError("expected a device that waits to get the bundle that was published")


async def _revoked_while_waiting(subject: FleetSubject) -> None:
    device = await subject.new_device()
    async with _waiting(device) as waiting:
        revoked = await subject.admin("POST", f"{DEVICES}/{device.id}/revoke")
        offered(revoked, f"POST {DEVICES}/{{id}}/revoke")
        await subject.publish()
        response = await waiting
    _expect_not_ours(response, "a wait during which the device was revoked")


@asynccontextmanager
async def _waiting(device: SubjectDevice) -> AsyncIterator[asyncio.Task[HttpResponse]]:
    """A device that waits for another bundle than it has, for no longer than the block."""
    waiting = asyncio.create_task(_ask_again(device, await _etag_of(device), wait_ms=LONG_MS))
    try:
        yield waiting
    finally:
        waiting.cancel()
        await asyncio.wait({waiting})


async def _etag_of(device: SubjectDevice) -> str:
    response = await device.call("GET", "policy")
    if "etag" not in response.headers:
        raise NotOfferedError("`ETag` on a device's bundle")
    return response.headers["etag"]


async def _ask_again(device: SubjectDevice, etag: str, *, wait_ms: int = 0) -> HttpResponse:
    what = f"policy?wait_ms={wait_ms}" if wait_ms else "policy"
    return await device.call("GET", what, headers={"if-none-match": etag})


# --- siblings of a bundle ---------------------------------------------------------------------------------------------


async def _freshness(subject: FleetSubject) -> None:
    device = await subject.device()
    answer = await _policy_answer(device)
    sealed = _sibling(answer, "freshness")
    try:
        fresh = read_freshness(sealed, device.signing_key_b64)
    except BundleError as error:
        raise BrokenError(f"`freshness`: {error.problem} ({error.reason})") from None
    if fresh.bundle_id != bundle_of(answer).bundle.bundle_id:
        raise BrokenError("expected `freshness` to be of the bundle beside it")
    if fresh.expires_us <= subject.clock.now_us():
        raise BrokenError("expected `freshness` that has not expired")


async def _keys(subject: FleetSubject) -> None:
    device = await subject.device()
    sealed = _sibling(await _policy_answer(device), "keys")
    try:
        read_next_key(sealed, device.signing_key_b64)
    except BundleError as error:
        raise BrokenError(f"`keys`: {error.problem} ({error.reason})") from None


async def _mandatory(subject: FleetSubject) -> None:
    device = await subject.device()
    found = await subject.mandatory_text() or 'forbid(principal == Agent::"briefcase conformance", action, resource);'
    text = f"{found}\n{MARK}"
    response = await subject.admin("POST", MANDATORY, {"policy_text": text})
    published = body_of(response, HTTPStatus.OK, f"`POST {MANDATORY}`")
    if _mandatory_of(await _policy_answer(device), device) != MandatoryPart(_whole(published, "id"), text):
        raise BrokenError("expected the sibling `mandatory` to be what was published")
    response = await subject.admin("POST", MANDATORY, {"policy_text": "permit(principal, action, resource);"})
    expect_word(response, HTTPStatus.BAD_REQUEST, words.INVALID_MANDATORY, "a mandatory part that permits")
    if _mandatory_of(await _policy_answer(device), device).policy_text != text:
        raise BrokenError("expected a mandatory part that was refused to change nothing")


def _mandatory_of(answer: JsonObject, device: SubjectDevice) -> MandatoryPart:
    sealed = answer.get("mandatory")
    if not isinstance(sealed, dict):
        raise BrokenError("expected the sibling `mandatory` beside the bundle")
    try:
        return read_mandatory(sealed, device.signing_key_b64)
    except BundleError as error:
        raise BrokenError(f"`mandatory`: {error.problem} ({error.reason})") from None


async def _policy_answer(device: SubjectDevice) -> JsonObject:
    return body_of(await device.call("GET", "policy"), HTTPStatus.OK, "`GET /v1/devices/{id}/policy`")


def _sibling(answer: JsonObject, name: str) -> JsonObject:
    sealed = answer.get(name)
    if sealed is None:
        raise NotOfferedError(f"the sibling `{name}`")
    if not isinstance(sealed, dict):
        raise BrokenError(f"expected the sibling `{name}` to be an envelope")
    return sealed


# --- devices ----------------------------------------------------------------------------------------------------------


async def _listed(subject: FleetSubject) -> None:
    device = await subject.device()
    response = offered(await subject.admin("GET", DEVICES), f"GET {DEVICES}")
    listed = body_of(response, HTTPStatus.OK, f"`GET {DEVICES}`").get("devices")
    if not isinstance(listed, list) or not listed:
        raise BrokenError("expected a list `devices` with the devices that are enrolled")
    shown = body_of(await subject.admin("GET", f"{DEVICES}/{device.id}"), HTTPStatus.OK, f"`GET {DEVICES}/{{id}}`")
    if shown.get("device_id") != device.id:
        raise BrokenError("expected a device to be shown under its own id")
    response = await subject.admin("GET", f"{DEVICES}/{subject.entropy.uuid()}")
    if response.status != HTTPStatus.NOT_FOUND:
        raise BrokenError(f"expected a device that nobody enrolled to be 404, got {response.status}")


async def _status(subject: FleetSubject) -> None:
    device = await subject.new_device()
    said = {"running_bundle_id": 1, "tried_bundle_id": 2, "last_error": "invalid_policy: conformance"}
    response = await device.call("POST", "status", msgspec.json.encode(said))
    body_of(offered(response, "POST /v1/devices/{id}/status"), HTTPStatus.OK, "a device's status")
    response = await device.call("POST", "status", msgspec.json.encode(said), proof="")
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.MISSING_DPOP, "a status without a proof")
    response = await subject.admin("GET", f"{DEVICES}/{device.id}")
    if response.status not in NOWHERE:
        shown = body_of(response, HTTPStatus.OK, f"`GET {DEVICES}/{{id}}`")
        if {name: shown.get(name) for name in said} != said:
            raise BrokenError(
                "expected a device to be shown with the bundle that it runs, the one it tried, and its error"
            )


async def _revoked(subject: FleetSubject) -> None:
    device = await subject.new_device()
    path = f"{DEVICES}/{device.id}/revoke"
    body_of(offered(await subject.admin("POST", path), f"POST {DEVICES}/{{id}}/revoke"), HTTPStatus.OK, "a revocation")
    for method, what, body in (
        ("GET", "policy", None),
        ("POST", "receipts", upload_of(chain(1))),
        ("GET", "remote-signer", None),
    ):
        response = await device.call(method, what, body)
        if what == "remote-signer" and response.status in NOWHERE:
            continue
        _expect_not_ours(response, f"a revoked device's `{what}`")
    response = await subject.admin("POST", path)
    if response.status != HTTPStatus.NOT_FOUND:
        raise BrokenError(f"expected a second revocation to be 404, got {response.status}")
    await device.enrol()
    await device.policy()


async def _rotated(subject: FleetSubject) -> None:
    device = await subject.new_device()
    old = device.token
    response = offered(await subject.admin("POST", f"{DEVICES}/{device.id}/rotate"), f"POST {DEVICES}/{{id}}/rotate")
    device.token = text_of(body_of(response, HTTPStatus.OK, "a rotation"), "device_token")
    await device.policy()
    response = await device.call("GET", "policy", headers={"authorization": f"Bearer {old}"})
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, "a token that was rotated")


def _expect_not_ours(response: HttpResponse, what: str) -> None:
    answer = body_of(response, HTTPStatus.UNAUTHORIZED, what)
    if answer.get("code") not in NOT_OURS:
        raise BrokenError(f"expected {what} to be {' or '.join(f'`{word}`' for word in sorted(NOT_OURS))}")


# --- rollouts ---------------------------------------------------------------------------------------------------------


async def _rollout(subject: FleetSubject) -> None:
    device = await subject.device()
    before = await subject.policy()
    sent = await subject.marked("canary") | {"canary_permille": CANARY_PERMILLE}
    begun = body_of(
        offered(await subject.admin("POST", ROLLOUTS, sent), f"POST {ROLLOUTS}"), HTTPStatus.OK, f"`POST {ROLLOUTS}`"
    )
    rollout_id = _whole(begun, "rollout_id")
    try:
        await _check_canary(subject, device, before.bundle.bundle_id, rollout_id, begun)
    finally:
        response = await subject.admin("POST", f"{ROLLOUTS}/{rollout_id}/rollback")
    ended = body_of(response, HTTPStatus.OK, "a roll-back")
    after = await subject.policy()
    if ended.get("state") != "rolled_back" or after.bundle.bundle_id <= rollout_id:
        raise BrokenError("expected a roll-back to give all devices a bundle under a new id")
    if after.bundle.policy_text != before.bundle.policy_text:
        raise BrokenError("expected a roll-back to give all devices the text from before")
    response = await subject.admin("POST", f"{ROLLOUTS}/{rollout_id}/rollback")
    expect_word(response, HTTPStatus.CONFLICT, "conflict", "a second roll-back")


async def _check_canary(
    subject: FleetSubject, device: SubjectDevice, before_id: int, rollout_id: int, begun: JsonObject
) -> None:
    if rollout_id <= before_id or begun.get("state") != "canary":
        raise BrokenError("expected a rollout to begin as `canary`, with a bundle under the next id")
    if (await device.policy()).bundle.bundle_id not in {before_id, rollout_id}:
        raise BrokenError("expected a device to get the bundle of the rollout or the one before")
    response = await subject.admin("POST", POLICY, await subject.marked())
    expect_word(response, HTTPStatus.CONFLICT, "conflict", "a publication while a rollout is under way")
    shown = body_of(await subject.admin("GET", f"{ROLLOUTS}/{rollout_id}"), HTTPStatus.OK, f"`GET {ROLLOUTS}/{{id}}`")
    if shown.get("shut_gates"):
        response = await subject.admin("POST", f"{ROLLOUTS}/{rollout_id}/advance")
        expect_word(response, HTTPStatus.CONFLICT, "gate_shut", "an advance through a gate that is shut")


# --- who administers --------------------------------------------------------------------------------------------------


async def _named_tokens(subject: FleetSubject) -> None:
    name, token = await _token(subject, "auditor")
    audited_by = await subject.admin("GET", f"{RECEIPTS}?limit=1", token=token)
    if audited_by.status != HTTPStatus.OK:
        raise BrokenError(f"expected a named auditor to read receipts, got {audited_by.status}")
    response = await subject.admin("GET", POLICY, token=token)
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, "an administrator's path by a named auditor")
    response = await subject.admin("POST", TOKENS, {"name": name, "role": "auditor"})
    expect_word(response, HTTPStatus.CONFLICT, "conflict", "a name that is taken")
    body_of(await subject.admin("POST", f"{TOKENS}/{name}/revoke"), HTTPStatus.OK, "the revocation of a token")
    response = await subject.admin("GET", f"{RECEIPTS}?limit=1", token=token)
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, "a named token that was revoked")


async def _tenants(subject: FleetSubject) -> None:
    name, token = await _token(subject, "admin", TENANT)
    try:
        await _check_apart(subject, token)
    finally:
        await subject.admin("POST", f"{TOKENS}/{name}/revoke", token=token)


async def _check_apart(subject: FleetSubject, token: str) -> None:
    """Check that another tenant's administrator sees and changes nothing of a device of ours."""
    device = await subject.new_device()
    sent = chain(1)
    body_of(await device.call("POST", "receipts", upload_of(sent)), HTTPStatus.OK, "an upload")
    response = await subject.admin("GET", f"{RECEIPTS}?device_id={device.id}", token=token)
    if audited(response):
        raise BrokenError("expected another tenant to see no receipt of ours")
    for what, method, path, body in (
        ("to see a device of ours", "GET", f"{DEVICES}/{device.id}", None),
        ("to revoke a device of ours", "POST", f"{DEVICES}/{device.id}/revoke", None),
        ("to rotate the token of a device of ours", "POST", f"{DEVICES}/{device.id}/rotate", None),
        ("to enrol a device of ours", "POST", ENROL, device.enrolment()),
    ):
        response = await subject.admin(method, path, body, token=token)
        if response.status not in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.FORBIDDEN}:
            raise BrokenError(f"expected another tenant not {what}, got {response.status}")
    before = await device.policy()
    theirs = bundle_of(body_of(await subject.admin("GET", POLICY, token=token), HTTPStatus.OK, f"`GET {POLICY}`"))
    same: dict[str, JsonValue] = {"policy_text": theirs.bundle.policy_text, "budgets": dict(theirs.bundle.budgets)}
    body_of(await subject.admin("POST", POLICY, same, token=token), HTTPStatus.OK, "a publication of another tenant")
    if await device.policy() != before:
        raise BrokenError("expected a publication of another tenant to change nothing for a device of ours")


async def _token(subject: FleetSubject, role: str, tenant: str = "") -> tuple[str, str]:
    made = await subject.make_token(role, tenant)
    if made is None:
        raise NotOfferedError(f"`POST {TOKENS}`")
    return made


async def _acts(subject: FleetSubject) -> None:
    offered(await subject.admin("GET", f"{ACTS}?limit=1"), f"GET {ACTS}")
    before = await _newest_acts(subject)
    published = await subject.publish()
    acts = await _newest_acts(subject)
    if not acts or (before and acts[0].id <= before[0].id):
        raise BrokenError("expected a publication to leave an act")
    event = msgspec.json.decode(acts[0].event, type=dict[str, object])
    if not event.get("by") or not event.get("act") or published.bundle.bundle_id not in event.values():
        raise BrokenError("expected the act of a publication to say who published which bundle")
    for act, older in zip(acts, [*acts[1:], None], strict=True):
        after = older.hash_hex if older is not None else act.prev_hash_hex if act.id > 1 else GENESIS_HASH_HEX
        if act.prev_hash_hex != after or hash_of(after, bytes(act.event).decode()) != act.hash_hex:
            raise BrokenError(f"expected act {act.id} to continue the one before, by its hash")


async def _newest_acts(subject: FleetSubject) -> list[AuditedReceipt]:
    response = await subject.admin("GET", f"{ACTS}?limit=50")
    try:
        return msgspec.json.decode(response.body, type=_Acts).acts
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenError(f"expected `acts` with id, hashes and event: {error}") from None


class _Acts(msgspec.Struct, frozen=True):
    acts: list[AuditedReceipt]


async def _search(subject: FleetSubject) -> None:
    device = await subject.new_device()
    sent = chain(2)
    body_of(await device.call("POST", "receipts", upload_of(sent)), HTTPStatus.OK, "an upload")
    path = f"{RECEIPTS}?device_id={device.id}"
    if len(audited(await subject.admin("GET", f"{path}&decision=deny"))) == len(sent):
        raise NotOfferedError("a search by tool, decision or time")
    for query, expected in (
        ("&decision=allow&tool_id=conformance", sent),
        ("&tool_id=another", []),
        ("&since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z", sent),
        ("&since=2026-01-02T00:00:00Z", []),
    ):
        check_kept(expected, audited(await subject.admin("GET", path + query)))


async def _witness(subject: FleetSubject) -> None:
    response = offered(await subject.ask("POST", "/witness/add-checkpoint", {}, b"no checkpoint"), "the witness")
    if response.status != HTTPStatus.BAD_REQUEST:
        raise BrokenError(f"expected what is no checkpoint to be answered with 400, got {response.status}")


def _whole(answer: JsonObject, name: str) -> int:
    value = answer.get(name)
    if type(value) is not int:
        raise BrokenError(f"expected a whole number `{name}` in the answer")
    return value


async def _left(subject: FleetSubject) -> None:
    try:
        before = await subject.found_text()
    except SkipError:
        raise SkipError("nothing was published") from None
    await subject.leave()
    if (await subject.policy()).bundle.policy_text != before:
        raise BrokenError("expected the text that was found to be the present one again")


CHECKS: Final[Sequence[Check[FleetSubject]]] = (
    Check("ready", "`GET /ready` says whether it can decide", _ready),
    Check("metrics", "`GET /metrics` has its figures, for whoever may read them", _metrics),
    Check("etag", "a device's bundle has an `ETag`; a known one is 304", _etag),
    Check("wait_held", "`wait_ms` holds a request while nothing is new", _held),
    Check("wait_woken", "a publication wakes who waits", _woken),
    Check("wait_revoked", "a device that is revoked while it waits gets nothing", _revoked_while_waiting),
    Check("freshness", "`freshness` is signed, of this bundle and not over", _freshness),
    Check("keys", "`keys` names the next key, signed by the present one", _keys),
    Check("mandatory", "`mandatory` is signed, only forbids, and is what was published", _mandatory),
    Check("devices_listed", "devices are listed and shown", _listed),
    Check("device_status", "what a device says of itself is shown", _status),
    Check("device_revoked", "a revoked device gets nothing until it is enrolled again", _revoked),
    Check("device_rotated", "a rotated token is good, and the one before is not", _rotated),
    Check("rollout", "a rollout goes to some first, is held by its gates, and is rolled back under a new id", _rollout),
    Check("named_tokens", "a named token has its role until it is revoked", _named_tokens),
    Check("tenants", "a tenant sees and changes nothing of another", _tenants),
    Check("acts", "each act of an administrator is in a chain of hashes", _acts),
    Check("audit_search", "an auditor searches by tool, decision and time", _search),
    Check("witness", "the witness refuses what is no checkpoint", _witness),
)
LEAVE: Final[Check[FleetSubject]] = Check("left_as_found", "the policy decides as it did before the run", _left)
"""Tried last in every run."""
