"""The provider harness: green on the reference gateway, and red on each gateway that breaks the rule it checks."""

import json

import msgspec
import pytest

from briefcase.adapters.system import SystemEntropy
from briefcase.core.jose import dpop
from briefcase.core.jose.dpop import ProofWindow, check_proof
from briefcase.core.jose.pkce import challenge_of
from briefcase.core.jose.replay import Claim, ReplayCache
from briefcase.edges.conformance.provider import CHECKS, check_provider
from briefcase.edges.conformance.report import Status
from briefcase.edges.conformance.subject import Subject
from briefcase.edges.provider_gateway import authority, oauth
from briefcase.edges.provider_gateway.app import Entitled, ProviderGateway
from briefcase.edges.provider_gateway.authority import Authority, Refused
from briefcase.edges.provider_gateway.facts import Facts, Kind
from briefcase.edges.provider_gateway.oauth import OAuth
from briefcase.model.errors import UpstreamError
from support.clock import FakeClock
from support.entropy import FakeEntropy
from support.lenient_proofs import believing, claims_of, lenient
from support.outbound import AsgiOutbound
from support.providers import ADMIN_SECRET, BASE_URL, open_gateway


async def examine(tmp_path, *, wrap=lambda app: app, admin_secret=ADMIN_SECRET, cut=None, **settings):
    clock = FakeClock()
    gateway = open_gateway(tmp_path, clock, FakeEntropy(), **({"max_calls": 5} | settings))
    outbound = AsgiOutbound(provider=wrap(gateway))
    outbound.cut = cut
    subject = Subject(BASE_URL, outbound, clock, SystemEntropy(), admin_secret)
    try:
        return await check_provider(subject, clock)
    finally:
        gateway.facts.close()


def failed(report):
    return {check.name for check in report.checks if check.status is Status.FAILED}


@pytest.mark.parametrize("settings", [{}, {"requires_nonce": True}, {"takes_payments": False}])
async def test_the_reference_gateway_passes_every_check(tmp_path, settings):
    report = await examine(tmp_path, **settings)
    assert failed(report) == set(), [check.detail for check in report.checks if check.detail]
    assert (report.ok, report.passed, report.skipped) == (True, len(CHECKS), 0)


async def test_what_could_not_be_tried_is_skipped_with_its_reason(tmp_path):
    report = await examine(tmp_path, admin_secret=None, max_calls=1_001)
    skipped = {check.name: check.detail for check in report.checks if check.status is Status.SKIPPED}
    assert skipped.keys() == {"revocation", "max_calls"}
    assert all(skipped.values())
    assert report.ok is True


async def test_a_provider_that_does_not_answer_passes_nothing(tmp_path):
    report = await examine(tmp_path, cut=lambda _: UpstreamError("down"))
    assert report.ok is False
    assert report.passed == 0


async def test_the_report_holds_no_token_and_no_key(tmp_path):
    text = msgspec.json.encode(await examine(tmp_path)).decode()
    assert "eyJ" not in text
    assert ADMIN_SECRET not in text
    assert json.loads(text)["format"] == "briefcase-conformance/1"


# --- a broken provider for each check ---------------------------------------------------------------------------


def rewriting(change):
    """A gateway behind something that changes its answers: (path, status, headers, body) -> the same."""

    def wrap(app):
        async def wrapped(scope, receive, send):
            messages = []

            async def keep(message):
                messages.append(message)

            await app(scope, receive, keep)
            headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
            body = b"".join(message.get("body", b"") for message in messages[1:])
            status, headers, body = change(scope["path"], messages[0]["status"], headers, body)
            pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": pairs})
            await send({"type": "http.response.body", "body": body})

        return wrapped

    return wrap


def without_header(name, *, where=lambda path, status: True):
    def change(path, status, headers, body):
        if where(path, status):
            headers = {key: value for key, value in headers.items() if key != name}
        return status, headers, body

    return rewriting(change)


def without_member(name, path):
    def change(found, status, headers, body):
        if found == path and status == 200:
            body = json.dumps({key: value for key, value in json.loads(body).items() if key != name}).encode()
        return status, headers, body

    return rewriting(change)


def other_status(old, new):
    return rewriting(lambda path, status, headers, body: (new if status == old else status, headers, body))


def patched(owner, name, value):
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


def unbound(monkeypatch):
    issue = Authority.issue
    monkeypatch.setattr(Authority, "issue", lambda self, _jkt: issue(self, None))


def es256_only(monkeypatch):
    def check(values, *args, **kwargs):
        if claims_of(values, 0).get("alg") == "EdDSA":
            return dpop.Refusal("invalid_dpop_proof", 5, "not supported")
        return check_proof(values, *args, **kwargs)

    monkeypatch.setattr(authority, "check_proof", check)


def code_for_ever(monkeypatch):
    exchange = OAuth._exchange_code

    def forgetful(self, form):
        grant = self._codes.get(form["code"])
        if grant is not None:
            grant.is_used = False
        return exchange(self, form)

    monkeypatch.setattr(OAuth, "_exchange_code", forgetful)


def pkce_optional(monkeypatch):
    authorize = OAuth.authorize
    forced = {"code_challenge": challenge_of("v" * 43), "code_challenge_method": "S256"}
    monkeypatch.setattr(
        OAuth, "authorize", lambda self, query: authorize(self, {**forced, **query} | {"code_challenge_method": "S256"})
    )


def any_redirect(monkeypatch):
    class Any(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __ne__(self, _other):
            return False

    grant = oauth.Grant
    monkeypatch.setattr(oauth, "Grant", lambda c, r, *rest: grant(c, Any(r), *rest))


def same_refresh_token(monkeypatch):
    answer = OAuth._answer
    monkeypatch.setattr(OAuth, "_answer", lambda self, client, family, _generation: answer(self, client, family, 0))


def old_refresh_token_good(monkeypatch):
    monkeypatch.setattr(OAuth, "_end", lambda *_: None)
    generations = {}

    def exchange(self, form):
        granted = self._verified(form.get("refresh_token", ""), oauth.REFRESH_TYP)
        generations[granted.fam] = generations.get(granted.fam, 0) + 1
        return self._answer(granted.client_id, granted.fam, generations[granted.fam])

    monkeypatch.setattr(OAuth, "_exchange_refresh", exchange)


def unmetered(monkeypatch):
    monkeypatch.setattr(Authority, "_count", lambda *_: None)


def unrevoked(monkeypatch):
    value = Facts.value
    monkeypatch.setattr(
        Facts, "value", lambda self, kind, key: None if kind is Kind.REVOKED else value(self, kind, key)
    )


def replay_unnamed(monkeypatch):
    claim = Authority._claim

    def unnamed(self, proof):
        refused = claim(self, proof)
        return Refused(409, "conflict", "") if refused else None

    monkeypatch.setattr(Authority, "_claim", unnamed)


def replay_once_more(monkeypatch):
    """Refuses a replay the first time and then not: not deterministic."""
    seen = {}
    claim = ReplayCache.claim

    def forgetful(self, key, iat_s, now_s):
        seen[key] = seen.get(key, 0) + 1
        return Claim.FRESH if seen[key] > 2 else claim(self, key, iat_s, now_s)

    monkeypatch.setattr(ReplayCache, "claim", forgetful)


def bearer_too(monkeypatch):
    binding = Authority._check_binding

    def check(self, capability, scheme, token, asked):
        return None if scheme == "bearer" else binding(self, capability, scheme, token, asked)

    monkeypatch.setattr(Authority, "_check_binding", check)


def anyone(monkeypatch):
    monkeypatch.setattr(ProviderGateway, "_entitlement", lambda *_: Entitled())


def window(monkeypatch):
    """An endless window: for the check of the proof and for the cache behind it."""
    lenient(authority, window=ProofWindow(max_age_s=10**6))(monkeypatch)
    claim = ReplayCache.claim
    monkeypatch.setattr(ReplayCache, "claim", lambda self, key, iat_s, _now_s: claim(self, key, iat_s, iat_s))


def is_other_type(values):
    return claims_of(values, 0)["typ"] != "dpop+jwt"


def plain(_monkeypatch):
    pass


# check -> how a gateway breaks it: a patch of its inside, or something in front of it
BROKEN = {
    "profile_on_answers": [
        (plain, without_header("x-briefcase-compatibility-profile")),
        (plain, without_header("x-briefcase-compatibility-profile", where=lambda _, status: status == 401)),
        (plain, without_header("x-briefcase-compatibility-profile", where=lambda _, status: status == 404)),
    ],
    "profile_on_token": [(plain, without_member("compatibility_profile", "/token"))],
    "oauth_login": [
        (plain, without_member("refresh_token", "/oauth/token")),
        (plain, rewriting(lambda p, s, h, b: (s, {k: v.replace("state=", "estate=") for k, v in h.items()}, b))),
    ],
    "oauth_wrong_verifier": [(patched(oauth.pkce, "is_verified", lambda *_: True), None)],
    "oauth_no_pkce": [(pkce_optional, None)],
    "oauth_code_once": [(code_for_ever, None)],
    "oauth_redirect": [(any_redirect, None)],
    "oauth_rotation": [(same_refresh_token, None), (old_refresh_token_good, None)],
    "oauth_revocation": [(patched(OAuth, "revoke", lambda *_: None), None)],
    "unentitled": [(anyone, None)],
    "pop_binding": [(unbound, None), (plain, without_member("max_calls", "/token"))],
    "pop_accepted": [
        (plain, without_header("x-cost-microusd")),
        (plain, without_member("price", "/api/quote")),
        (
            lambda monkeypatch: monkeypatch.setattr(
                authority, "check_proof", lambda *_, **__: dpop.Refusal("no", 1, "")
            ),
            None,
        ),
    ],
    "pop_required": [(bearer_too, None)],
    "pop_other_key": [(lenient(authority, bound_jkt=None), None)],
    "pop_algorithms": [(es256_only, None)],
    "pop_method": [(lenient(authority, method=None), None)],
    "pop_url": [(lenient(authority, url=None), None)],
    "pop_stale": [(window, None)],
    "pop_future": [(lenient(authority, window=ProofWindow(max_future_s=10**6)), None)],
    "pop_bad_iat": [(believing(authority, lambda values: type(claims_of(values).get("iat")) is not int), None)],
    "pop_ath": [(lenient(authority, access_token=None), None)],
    "pop_no_jti": [(believing(authority, lambda values: "jti" not in claims_of(values)), None)],
    "pop_forged": [
        (patched(dpop, "check_signature", lambda *_: None), None),
        (believing(authority, lambda values: claims_of(values, 0)["alg"] == "none"), None),
        (believing(authority, lambda values: claims_of(values, 0)["alg"] == "HS256"), None),
        (believing(authority, is_other_type), None),
        (believing(authority, lambda values: "d" in claims_of(values, 0)["jwk"]), None),
    ],
    "replay_resource": [
        (patched(Authority, "_claim", lambda *_: None), None),
        (plain, other_status(409, 401)),
        (plain, without_header("x-briefcase-error", where=lambda path, _: path == "/api/quote")),
        (replay_unnamed, None),
        (replay_once_more, None),
    ],
    "replay_token": [
        (plain, without_header("x-briefcase-error", where=lambda path, _: path == "/token")),
        (patched(Authority, "_claim", lambda *_: None), None),
    ],
    "revocation": [(unrevoked, None), (plain, without_member("jti", "/api/revoke")), (plain, other_status(403, 401))],
    "max_calls": [(unmetered, None), (plain, other_status(429, 403))],
}


def test_there_is_a_broken_provider_for_each_check():
    assert list(BROKEN) == [check.name for check in CHECKS]


@pytest.mark.parametrize(
    ("name", "patch", "wrap"),
    [(name, *how) for name, hows in BROKEN.items() for how in hows],
    ids=[f"{name} {number}" for name, hows in BROKEN.items() for number, _ in enumerate(hows)],
)
async def test_each_check_is_red_on_a_provider_that_breaks_its_rule(tmp_path, monkeypatch, name, patch, wrap):
    patch(monkeypatch)
    report = await examine(tmp_path, wrap=wrap or (lambda app: app))
    check = next(check for check in report.checks if check.name == name)
    assert check.status is Status.FAILED
    assert check.detail
    assert report.ok is False
