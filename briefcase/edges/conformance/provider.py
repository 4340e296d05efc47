"""The contract of a provider, check by check (`aacp_v1`): `CHECKS` is the table, in the order of a client's life.

One that cannot even get to its question (no log-in, no capability) fails (`checks.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from briefcase.adapters.oauth.wire import error_word
from briefcase.core.jose.jws import generate_key
from briefcase.edges.conformance.checks import BrokenError, Check, SkipError, body_of, run_checks, text_of
from briefcase.edges.conformance.proofs import sign_with_public_key
from briefcase.edges.conformance.report import CheckResult, Report
from briefcase.edges.conformance.subject import Minted, Subject, claims_of
from briefcase.model.ports import Clock, HttpResponse
from briefcase.model.reasons import CAPABILITY_REVOKED, REPLAY_DETECTED
from briefcase.model.types import COMPATIBILITY_PROFILE, JsonObject, parse_rfc3339

PROFILE_HEADER: Final = "x-briefcase-compatibility-profile"
STALE_S: Final = 3_600  # older than any window that keeps a replay cache small
VERIFIER: Final = "conformance-verifier-0123456789-0123456789-abc"
MAX_CALLS_TRIED: Final = 1_000
REFUSED_GRANT: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED})


async def check_provider(
    subject: Subject, clock: Clock, progress: Callable[[CheckResult], None] | None = None
) -> Report:
    """Try every check.

    Args:
        subject: the provider.
        clock: stamps and durations.
        progress: told of each result as it is known.
    """
    return await run_checks(subject.base_url, subject, CHECKS, clock, progress)


# --- the profile ------------------------------------------------------------------------------------------------


async def _profile_on_answers(subject: Subject) -> None:
    token = (await subject.mint()).token
    answers = {
        "health": await subject.ask("GET", "/health"),
        "a served call": await subject.call(token),
        "a refused call": await subject.call(token, ""),
        "an unknown path": await subject.ask("GET", "/conformance/nothing-is-here"),
    }
    for name, response in answers.items():
        if response.headers.get(PROFILE_HEADER) != COMPATIBILITY_PROFILE:
            raise BrokenError(f"expected `{PROFILE_HEADER}: {COMPATIBILITY_PROFILE}` on the answer to {name}")


async def _profile_on_token(subject: Subject) -> None:
    answer = (await subject.mint()).answer
    if answer.get("compatibility_profile") != COMPATIBILITY_PROFILE:
        raise BrokenError(f"expected `compatibility_profile` to be `{COMPATIBILITY_PROFILE}` in the token answer")


# --- OAuth ------------------------------------------------------------------------------------------------------


async def _oauth_login(subject: Subject) -> None:
    answer = await subject.authorize(VERIFIER)
    if answer.get("state") != "state-of-the-harness":
        raise BrokenError("expected the authorization answer to carry `state` back")
    tokens = await subject.log_in()
    text_of(tokens, "access_token")
    text_of(tokens, "refresh_token")
    if text_of(tokens, "token_type").lower() != "bearer":
        raise BrokenError("expected `token_type` to be `Bearer`")


async def _oauth_wrong_verifier(subject: Subject) -> None:
    code = (await subject.authorize(VERIFIER)).get("code", "")
    _expect_refused(await subject.exchange(code, VERIFIER[::-1]), REFUSED_GRANT, "a code with another verifier")


async def _oauth_no_pkce(subject: Subject) -> None:
    for changed in ({"code_challenge": None, "code_challenge_method": None}, {"code_challenge_method": "plain"}):
        if "code" in await subject.authorize(VERIFIER, **changed):
            raise BrokenError("expected an authorization request without `S256` to get no code")


async def _oauth_code_once(subject: Subject) -> None:
    code = (await subject.authorize(VERIFIER)).get("code", "")
    body_of(await subject.exchange(code, VERIFIER), HTTPStatus.OK, "the first exchange of a code")
    _expect_refused(await subject.exchange(code, VERIFIER), REFUSED_GRANT, "the second exchange of a code")


async def _oauth_redirect(subject: Subject) -> None:
    code = (await subject.authorize(VERIFIER)).get("code", "")
    response = await subject.exchange(code, VERIFIER, redirect_uri="http://127.0.0.1:49153/other")
    _expect_refused(response, REFUSED_GRANT, "a code for another `redirect_uri`")


async def _oauth_rotation(subject: Subject) -> None:
    first = text_of(await subject.log_in(), "refresh_token")
    second = text_of(body_of(await _refresh(subject, first), HTTPStatus.OK, "the refresh"), "refresh_token")
    if second == first:
        raise BrokenError("expected the refresh token to be rotated")
    _expect_refused(await _refresh(subject, first), REFUSED_GRANT, "a refresh token that was rotated")


async def _oauth_revocation(subject: Subject) -> None:
    token = text_of(await subject.log_in(), "refresh_token")
    response = await subject.post_form("/oauth/revoke", {"token": token, "client_id": "briefcase-conformance"})
    if response.status != HTTPStatus.OK:  # RFC 7009 section 2.2
        raise BrokenError(f"expected `POST /oauth/revoke` to answer 200, got {response.status}")
    _expect_refused(await _refresh(subject, token), REFUSED_GRANT, "a refresh token that was revoked")


async def _refresh(subject: Subject, token: str) -> HttpResponse:
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "briefcase-conformance"}
    return await subject.post_form("/oauth/token", form)


# --- capabilities -----------------------------------------------------------------------------------------------


async def _unentitled(subject: Subject) -> None:
    for headers in ({}, {"authorization": "Bearer not-a-token"}):
        response = await subject.ask("POST", "/token", headers)
        if response.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED}:
            raise BrokenError(f"expected `POST /token` without entitlement to answer 401 or 402, got {response.status}")


async def _binding(subject: Subject) -> None:
    minted = await subject.mint()
    claims = claims_of(minted.token)
    missing = {"exp", "iat", "jti", "scope", "max_calls", "cost_microusd"} - claims.keys()
    if missing:
        raise BrokenError(f"expected the capability to have the claim `{min(missing)}`")
    confirmation = claims.get("cnf")
    if not isinstance(confirmation, dict) or confirmation.get("jkt") != subject.key.public.thumbprint:
        raise BrokenError("expected `cnf.jkt` to be the thumbprint of the key in the proof")
    _check_lifetime(minted)


def _check_lifetime(minted: Minted) -> None:
    try:
        parse_rfc3339(text_of(minted.answer, "expires_at_rfc3339"))
    except ValueError:
        raise BrokenError("expected `expires_at_rfc3339` to be an RFC 3339 time") from None
    if type(minted.answer.get("max_calls")) is not int:
        raise BrokenError("expected a whole number `max_calls` in the token answer")


async def _with_proof(subject: Subject) -> None:
    response = await subject.call((await subject.mint()).token)
    body = body_of(response, HTTPStatus.OK, "a call with a fresh proof")
    if body.keys() != {"symbol", "price", "ts"}:
        raise BrokenError("expected a quote to have `symbol`, `price` and `ts`")
    if not response.headers.get("x-cost-microusd", "").isdigit():
        raise BrokenError("expected `x-cost-microusd` on the answer")


async def _without_proof(subject: Subject) -> None:
    token = (await subject.mint()).token
    _expect_refused(await subject.call(token, ""), {HTTPStatus.UNAUTHORIZED}, "a bound capability without a proof")
    _expect_refused(
        await subject.call(token, "", scheme="Bearer"),
        {HTTPStatus.UNAUTHORIZED},
        "a bound capability as a bearer token",
    )


async def _other_key(subject: Subject) -> None:
    token = (await subject.mint()).token
    proof = subject.proof(token=token, key=generate_key())
    _expect_refused(await subject.call(token, proof), {HTTPStatus.UNAUTHORIZED}, "a proof by another key")


async def _eddsa_and_es256(subject: Subject) -> None:
    for algorithm in ("EdDSA", "ES256"):
        key = generate_key(algorithm)
        token = (await subject.mint(key)).token
        body_of(
            await subject.call(token, subject.proof(token=token, key=key)), HTTPStatus.OK, f"a proof with {algorithm}"
        )


# --- proofs that must be refused --------------------------------------------------------------------------------


def _refused_with(what: str, claims: JsonObject) -> Callable[[Subject], Awaitable[None]]:
    """A check that a proof with one claim changed is refused, and that the good one beside it is not."""

    async def run(subject: Subject) -> None:
        token = (await subject.mint()).token
        _expect_refused(
            await subject.call(token, subject.proof(token=token, claims=claims)), {HTTPStatus.UNAUTHORIZED}, what
        )
        body_of(await subject.call(token), HTTPStatus.OK, "the good proof after it")

    return run


async def _method(subject: Subject) -> None:
    await _refused_with("a proof for another method", {"htm": "POST"})(subject)


async def _url(subject: Subject) -> None:
    token = (await subject.mint()).token
    for path in ("/api/quotes", "/token", "/"):
        response = await subject.call(token, subject.proof(path=path, token=token))
        _expect_refused(response, {HTTPStatus.UNAUTHORIZED}, f"a proof for `{path}`")
    other = subject.proof(token=token, claims={"htu": "https://other.example/api/quote"})
    _expect_refused(await subject.call(token, other), {HTTPStatus.UNAUTHORIZED}, "a proof for another host")


async def _stale(subject: Subject) -> None:
    await _refused_with("a proof of an hour ago", {"iat": subject.now_s() - STALE_S})(subject)


async def _future(subject: Subject) -> None:
    await _refused_with("a proof of the next hour", {"iat": subject.now_s() + STALE_S})(subject)


async def _bad_iat(subject: Subject) -> None:
    for value in ("soon", None, subject.now_s() + 0.5):
        await _refused_with("a proof whose `iat` is no whole number", {"iat": value})(subject)


async def _ath(subject: Subject) -> None:
    await _refused_with("a proof without `ath`", {"ath": None})(subject)
    await _refused_with("a proof with the `ath` of another token", {"ath": "A" * 43})(subject)


async def _no_jti(subject: Subject) -> None:
    await _refused_with("a proof without `jti`", {"jti": None})(subject)


async def _forged(subject: Subject) -> None:
    token = (await subject.mint()).token
    good = subject.proof(token=token)
    head, _, _ = good.rpartition(".")
    table = {
        "a proof with `alg` none": subject.proof(token=token, header={"alg": "none"}).rpartition(".")[0] + ".",
        "a proof keyed with the public key": sign_with_public_key(
            subject.proof(token=token, header={"alg": "HS256"}), subject.key
        ),
        "a proof with the signature of another": f"{head}.{subject.proof(token=token).rpartition('.')[2]}",
        "a proof of another type": subject.proof(token=token, header={"typ": "JWT"}),
        "a proof with a private key in it": subject.proof(
            token=token, header={"jwk": msgspec.json.decode(subject.key.export())}
        ),
    }
    for what, proof in table.items():
        _expect_refused(await subject.call(token, proof), {HTTPStatus.UNAUTHORIZED}, what)


# --- replay, revocation, metering -------------------------------------------------------------------------------


async def _replay_resource(subject: Subject) -> None:
    token = (await subject.mint()).token
    proof = subject.proof(token=token)
    body_of(await subject.call(token, proof), HTTPStatus.OK, "the first use of a proof")
    for _ in range(3):
        _expect_word(await subject.call(token, proof), HTTPStatus.CONFLICT, REPLAY_DETECTED, "a proof used before")


async def _replay_token(subject: Subject) -> None:
    access = text_of(await subject.log_in(), "access_token")
    await subject.mint()  # learns the nonce, where the provider asks for one
    headers = {"authorization": f"Bearer {access}", "dpop": subject.proof("POST", "/token")}
    body_of(await subject.ask("POST", "/token", headers), HTTPStatus.OK, "the first use of a proof")
    for _ in range(3):
        response = await subject.ask("POST", "/token", headers)
        _expect_word(response, HTTPStatus.CONFLICT, REPLAY_DETECTED, "a proof used before at `/token`")


async def _revocation(subject: Subject) -> None:
    if subject.admin_secret is None:
        raise SkipError("no administrator's secret was given (`--admin-secret-stdin`)")
    token = (await subject.mint()).token
    body_of(await subject.call(token), HTTPStatus.OK, "a call before the revocation")
    answer = body_of(await subject.revoke(token), HTTPStatus.OK, "`POST /api/revoke`")
    if answer.get("revoked") is not True or answer.get("jti") != claims_of(token).get("jti"):
        raise BrokenError("expected `POST /api/revoke` to answer `revoked` and the `jti`")
    _expect_word(await subject.call(token), HTTPStatus.FORBIDDEN, CAPABILITY_REVOKED, "a capability that was revoked")


async def _max_calls(subject: Subject) -> None:
    minted = await subject.mint()
    allowed = minted.answer.get("max_calls")
    if type(allowed) is not int or allowed > MAX_CALLS_TRIED:
        raise SkipError(f"`max_calls` is not at most {MAX_CALLS_TRIED}")
    for number in range(allowed):
        body_of(await subject.call(minted.token), HTTPStatus.OK, f"call {number + 1} of {allowed}")
    for _ in range(2):
        _expect_refused(await subject.call(minted.token), {HTTPStatus.TOO_MANY_REQUESTS}, "a call beyond `max_calls`")


def _expect_refused(response: HttpResponse, statuses: Collection[int], what: str) -> None:
    if response.status not in statuses:
        expected = " or ".join(map(str, sorted(statuses)))
        raise BrokenError(f"expected {what} to be answered with {expected}, got {response.status}")
    if not error_word(response):
        raise BrokenError(f"expected the refusal of {what} to name its error")


def _expect_word(response: HttpResponse, status: int, word: str, what: str) -> None:
    _expect_refused(response, {status}, what)
    if response.headers.get("x-briefcase-error") != word:
        raise BrokenError(f"expected `x-briefcase-error: {word}` on the refusal of {what}")


CHECKS: Final[Sequence[Check[Subject]]] = (
    Check("profile_on_answers", "every answer carries the profile's mark", _profile_on_answers),
    Check("profile_on_token", "the token answer carries the profile's mark", _profile_on_token),
    Check("oauth_login", "a code with PKCE S256 gives tokens, and `state` comes back", _oauth_login),
    Check("oauth_wrong_verifier", "a code is of no use without its verifier", _oauth_wrong_verifier),
    Check("oauth_no_pkce", "without S256 there is no code", _oauth_no_pkce),
    Check("oauth_code_once", "a code is good once", _oauth_code_once),
    Check("oauth_redirect", "a code is good for its own address only", _oauth_redirect),
    Check("oauth_rotation", "a refresh token is rotated, and the old one is refused", _oauth_rotation),
    Check("oauth_revocation", "a revoked refresh token is refused", _oauth_revocation),
    Check("unentitled", "without entitlement there is no capability", _unentitled),
    Check("pop_binding", "a capability is bound to the key of the proof, with every claim", _binding),
    Check("pop_accepted", "a call with a fresh proof is served, and priced", _with_proof),
    Check("pop_required", "a bound capability without a proof is refused", _without_proof),
    Check("pop_other_key", "a proof by another key is refused", _other_key),
    Check("pop_algorithms", "EdDSA and ES256 are both taken", _eddsa_and_es256),
    Check("pop_method", "a proof for another method is refused", _method),
    Check("pop_url", "a proof for another URL is refused", _url),
    Check("pop_stale", "an old proof is refused", _stale),
    Check("pop_future", "a proof from the future is refused", _future),
    Check("pop_bad_iat", "a proof without a whole `iat` is refused", _bad_iat),
    Check("pop_ath", "a proof for another token is refused", _ath),
    Check("pop_no_jti", "a proof without an id is refused", _no_jti),
    Check("pop_forged", "a proof that is not signed by its own key is refused", _forged),
    Check("replay_resource", "a proof used twice is refused each time, and named", _replay_resource),
    Check("replay_token", "a proof used twice at `/token` is refused each time, and named", _replay_token),
    Check("revocation", "a revoked capability is refused, and named", _revocation),
    Check("max_calls", "a capability is good for its calls and no more", _max_calls),
)
