"""What a control plane promises administrators and auditors: tokens, publications, bundles, enrolments, audit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from briefcase.core.fleet import words
from briefcase.core.fleet.bundles import MAX_POLICY_BYTES
from briefcase.core.jose.jws import EDDSA, generate_key
from briefcase.edges.conformance.checks import BrokenError, Check, NotOfferedError, body_of, text_of
from briefcase.edges.conformance.fleet_receipts import audited, chain, check_kept, stored_of, upload_of
from briefcase.edges.conformance.fleet_subject import (
    ENROL,
    POLICY,
    RECEIPTS,
    FleetSubject,
    bundle_of,
    expect_word,
    verified,
)
from briefcase.model.ports import HttpResponse
from briefcase.model.types import JsonValue

ODD_TEXT: Final = 'é \u2028 "q" \\ \t tab \x7f \x01'
"""Characters that JSON writers write differently: U+2028 and U+007F as they are, the control as `\\u0001`."""

_ADMINISTRATIVE: Final = (("GET", POLICY), ("POST", POLICY), ("POST", ENROL), ("GET", RECEIPTS))
_BODY: Final[JsonValue] = {"policy_text": "", "budgets": {}}  # which no control plane publishes
_UPDATED_AT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
_REFUSED_FORM: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
_MAX_NAME_CHARS: Final = 128


async def _health(subject: FleetSubject) -> None:
    answer = body_of(await subject.ask("GET", "/health"), HTTPStatus.OK, "`GET /health` without a token")
    if answer.get("status") != "ok":
        raise BrokenError("expected `status` to be `ok`")
    text_of(answer, "ts")


async def _unknown_path(subject: FleetSubject) -> None:
    for method, path, expected in (
        ("GET", "/v1/conformance-nothing-is-here", HTTPStatus.NOT_FOUND),
        ("PUT", POLICY, HTTPStatus.METHOD_NOT_ALLOWED),
    ):
        response = await subject.ask(method, path, {"authorization": "Bearer nobody"})
        if response.status not in {expected, HTTPStatus.UNAUTHORIZED}:
            raise BrokenError(f"expected `{method} {path}` to answer {expected:d}, got {response.status}")


async def _token_missing(subject: FleetSubject) -> None:
    wrong = {"without a token": {}, "with a token of another scheme": {"authorization": "DPoP abc"}}
    for how, headers in wrong.items():
        for method, path in _ADMINISTRATIVE:
            response = await subject.ask(method, path, headers, _body_of(method))
            expect_word(response, HTTPStatus.UNAUTHORIZED, words.MISSING_TOKEN, f"`{method} {path}` {how}")


async def _token_wrong(subject: FleetSubject) -> None:
    for method, path in _ADMINISTRATIVE:
        headers = {"authorization": f"Bearer {subject.entropy.token()}"}
        response = await subject.ask(method, path, headers, _body_of(method))
        expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, f"`{method} {path}` with a wrong token")


async def _token_of_device(subject: FleetSubject) -> None:
    headers = {"authorization": f"Bearer {(await subject.device()).token}"}
    for method, path in _ADMINISTRATIVE:
        response = await subject.ask(method, path, headers, _body_of(method))
        expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, f"`{method} {path}` with a device's token")


def _body_of(method: str) -> bytes | None:
    return b'{"policy_text":"","budgets":{}}' if method == "POST" else None


async def _auditor(subject: FleetSubject) -> None:
    token = await subject.auditor()
    for path in (f"{RECEIPTS}?limit=1",):
        audited(_ok(await subject.admin("GET", path, token=token), f"`GET {RECEIPTS}` with an auditor's token"))
    for method, path in _ADMINISTRATIVE[:3]:
        response = await subject.admin(method, path, _BODY if method == "POST" else None, token=token)
        expect_word(
            response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, f"`{method} {path}` with an auditor's token"
        )


# --- policy -----------------------------------------------------------------------------------------------------------


async def _policy_shown(subject: FleetSubject) -> None:
    bundle = (await subject.policy()).bundle
    if bundle.bundle_id < 1:
        raise BrokenError("expected a `bundle_id` of 1 or more")
    if not _UPDATED_AT.fullmatch(bundle.updated_at_rfc3339):
        raise BrokenError("expected `updated_at_rfc3339` with microseconds and `+00:00`")


async def _policy_published(subject: FleetSubject) -> None:
    before = await subject.policy()
    sent = await subject.marked()
    padded = f"\n  {sent['policy_text']} \n"
    response = await subject.admin("POST", POLICY, {**sent, "policy_text": padded})
    published = bundle_of(body_of(response, HTTPStatus.OK, f"`POST {POLICY}`"))
    if published.bundle.bundle_id <= before.bundle.bundle_id:
        raise BrokenError("expected the id of a published bundle to be above the one before")
    if published.bundle.policy_text != sent["policy_text"]:
        raise BrokenError("expected the published text to be the one that was sent, without white space around it")
    if published.bundle.budgets != sent["budgets"]:
        raise BrokenError("expected the published budgets to be those that were sent")
    if await subject.policy() != published:
        raise BrokenError(f"expected `GET {POLICY}` to show what was published")


async def _policy_signed(subject: FleetSubject) -> None:
    device = await subject.device()
    published = await subject.publish(ODD_TEXT)
    if ODD_TEXT not in published.bundle.policy_text:
        raise BrokenError("expected the published text to keep each of its characters")
    response = await subject.admin("GET", POLICY)
    verified(body_of(response, HTTPStatus.OK, f"`GET {POLICY}`"), device.signing_key_b64)


async def _policy_bounds(subject: FleetSubject) -> None:
    before = await subject.policy()
    for what, text in {
        "an empty policy": "",
        "a policy of white space": " \n\t",
        f"a policy of {MAX_POLICY_BYTES + 1} bytes": "/" * (MAX_POLICY_BYTES + 1),
    }.items():
        response = await subject.admin("POST", POLICY, {"policy_text": text, "budgets": {}})
        expect_word(response, HTTPStatus.BAD_REQUEST, words.INVALID_POLICY_TEXT, what)
    await _expect_unpublished(subject, before.bundle.bundle_id)


async def _policy_cedar(subject: FleetSubject) -> None:
    before = await subject.policy()
    sent = await subject.marked()
    response = await subject.admin("POST", POLICY, {**sent, "policy_text": "this is not cedar"})
    if response.status == HTTPStatus.OK:
        await subject.publish()  # no device could apply what went out just now
        raise NotOfferedError("text that no device could apply is published as it is")
    expect_word(response, HTTPStatus.BAD_REQUEST, words.INVALID_POLICY_TEXT, "a policy that is no Cedar")
    await _expect_unpublished(subject, before.bundle.bundle_id)


async def _policy_budgets(subject: FleetSubject) -> None:
    before = await subject.policy()
    sent = await subject.marked()
    response = await subject.admin("POST", POLICY, {**sent, "budgets": {"read": -1}})
    expect_word(response, HTTPStatus.BAD_REQUEST, words.INVALID_BUDGET, "a negative budget")
    await _expect_unpublished(subject, before.bundle.bundle_id)


async def _policy_form(subject: FleetSubject) -> None:
    before = await subject.policy()
    headers = {"authorization": f"Bearer {subject.admin_token}"}
    for what, body in {
        "no JSON": b"{",
        "a body without `policy_text`": b'{"budgets":{}}',
        "a body that is no object": b"[]",
        "a text that is a number": b'{"policy_text":1,"budgets":{}}',
    }.items():
        _refused_form(await subject.ask("POST", POLICY, headers, body), what)
    await _expect_unpublished(subject, before.bundle.bundle_id)


async def _expect_unpublished(subject: FleetSubject, bundle_id: int) -> None:
    if (await subject.policy()).bundle.bundle_id != bundle_id:
        raise BrokenError("expected a publication that was refused to change nothing")


# --- enrolments -------------------------------------------------------------------------------------------------------


async def _enrolled(subject: FleetSubject) -> None:
    device = await subject.new_device()
    if device.answer.get("device_id") != device.id:
        raise BrokenError("expected an enrolment to answer the `device_id` that was sent")
    enrolled = verified(device.answer, device.signing_key_b64)
    if enrolled != await subject.policy():
        raise BrokenError("expected an enrolment to answer the present bundle")


async def _enrol_name(subject: FleetSubject) -> None:
    device = await subject.device()
    for what, name in {"an empty name": "", "a name of 129 characters": "x" * (_MAX_NAME_CHARS + 1)}.items():
        response = await subject.admin("POST", ENROL, device.enrolment() | {"device_name": name})
        expect_word(response, HTTPStatus.BAD_REQUEST, words.INVALID_DEVICE_NAME, what)
    await device.policy()  # whose token a refused enrolment has not changed


async def _enrol_key(subject: FleetSubject) -> None:
    device = await subject.device()
    good = text_of(dict(generate_key(EDDSA).public.jwk), "x")
    for what, key in {
        "a key with padding": f"{good}=",
        "a key of 31 bytes": good[:-2],
        "a key of 33 bytes": f"{good[:-1]}AA",
        "a key that is no base64url": "*" * len(good),
        "an empty key": "",
    }.items():
        response = await subject.admin("POST", ENROL, device.enrolment() | {"device_pubkey_b64": key})
        expect_word(response, HTTPStatus.BAD_REQUEST, words.INVALID_DEVICE_PUBKEY, what)
    await device.policy()


async def _enrol_form(subject: FleetSubject) -> None:
    device = await subject.device()
    wrong: dict[str, JsonValue] = {
        "a `device_id` that is no UUID": device.enrolment() | {"device_id": "x"},
        "an enrolment without a key": {"device_id": device.id, "device_name": "x"},
    }
    for what, changed in wrong.items():
        _refused_form(await subject.admin("POST", ENROL, changed), what)


async def _enrol_again(subject: FleetSubject) -> None:
    device = await subject.new_device()
    first = chain(2)
    stored_of(body_of(await device.call("POST", "receipts", upload_of(first)), HTTPStatus.OK, "an upload"), 2, "it")
    old = device.token
    await device.enrol()
    if device.token == old:
        raise BrokenError("expected another enrolment of a device to rotate its token")
    response = await device.call("GET", "policy", headers={"authorization": f"Bearer {old}"})
    expect_word(response, HTTPStatus.UNAUTHORIZED, words.INVALID_TOKEN, "the token from before")
    rest = chain(1, first_id=3, after=first[-1].hash_hex)
    answer = body_of(await device.call("POST", "receipts", upload_of(rest)), HTTPStatus.OK, "the next receipt")
    stored_of(answer, 1, "the next receipt of a device that was enrolled again")


# --- audit ------------------------------------------------------------------------------------------------------------


async def _audit_pages(subject: FleetSubject) -> None:
    device, other = await subject.new_device(), await subject.new_device()
    sent = chain(5)
    for one, receipts in ((device, sent), (other, chain(2, mark="other"))):
        body_of(await one.call("POST", "receipts", upload_of(receipts)), HTTPStatus.OK, "an upload")
    path = f"{RECEIPTS}?device_id={device.id}"
    for query, expected in (("&limit=500", sent), ("&limit=2", sent[3:]), ("&limit=2&offset=2", sent[1:3])):
        response = _ok(await subject.admin("GET", path + query), f"`GET {RECEIPTS}`")
        check_kept(expected, audited(response))


def _refused_form(response: HttpResponse, what: str) -> None:
    if response.status not in _REFUSED_FORM:
        raise BrokenError(f"expected {what} to be answered with 400 or 422, got {response.status}")


def _ok(response: HttpResponse, what: str) -> HttpResponse:
    if response.status != HTTPStatus.OK:
        raise BrokenError(f"expected {what} to answer 200, got {response.status}")
    return response


CHECKS: Final[Sequence[Check[FleetSubject]]] = (
    Check("health", "`GET /health` says that it runs, to anybody", _health),
    Check("unknown_path", "what is at no path, or by no method, is 404 or 405", _unknown_path),
    Check("token_missing", "without a bearer token an administrator's path is `missing_token`", _token_missing),
    Check("token_wrong", "with another token an administrator's path is `invalid_token`", _token_wrong),
    Check("token_of_device", "a device's token opens no administrator's path", _token_of_device),
    Check("auditor", "an auditor reads receipts and administers nothing", _auditor),
    Check("policy_shown", "the bundle for all has an id, a profile, a text, budgets and a time", _policy_shown),
    Check("policy_published", "a published text is trimmed and gets the next id", _policy_published),
    Check("policy_signed", "a bundle is signed over its members in order, each character as it is", _policy_signed),
    Check("policy_bounds", "a policy has 1 to 200,000 bytes, else `invalid_policy_text`", _policy_bounds),
    Check("policy_cedar", "a policy that is no Cedar is `invalid_policy_text`", _policy_cedar),
    Check("policy_budgets", "a negative budget is `invalid_budget`", _policy_budgets),
    Check("policy_form", "what is no publication is 400 or 422 and publishes nothing", _policy_form),
    Check("enrolled", "an enrolment answers a token, the signing key and the present bundle", _enrolled),
    Check("enrol_name", "a device's name has 1 to 128 characters, else `invalid_device_name`", _enrol_name),
    Check("enrol_key", "a device's key is 32 bytes in base64url, else `invalid_device_pubkey`", _enrol_key),
    Check("enrol_form", "what is no enrolment is 400 or 422", _enrol_form),
    Check("enrol_again", "enrolled again, a device gets another token and keeps its receipts", _enrol_again),
    Check("audit_pages", "an auditor gets a device's receipts, the newest first, by pages", _audit_pages),
)
