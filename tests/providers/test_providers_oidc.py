"""Against a certified authorization server: log in, call with a proof, renew, revoke, and the failing call after it."""

import asyncio
from urllib.parse import urlsplit

import pytest

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.oauth.client import OAuthClient, check_answer
from briefcase.adapters.oauth.custody import Client
from briefcase.adapters.oauth.loopback import LoopbackListener
from briefcase.adapters.system import SystemClock, SystemEntropy
from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.jose.jws import generate_key
from briefcase.model.errors import UpstreamError
from briefcase.model.ports import HttpRequest
from support.oidc import browse, needs_oidc_provider, oidc_server

CLIENT_ID = "briefcase"

pytestmark = needs_oidc_provider


@pytest.fixture(params=["", "nonce"], ids=["without nonces", "with nonces"])
def issuer(request):
    with oidc_server(request.param) as address:
        yield address


async def log_in(client, issuer, signer):
    metadata = await client.discover(issuer)
    async with LoopbackListener() as listener:
        started = client.start(metadata, CLIENT_ID, listener.redirect_uri, "openid offline_access")
        listener.state = started.state
        browsing = asyncio.create_task(asyncio.to_thread(browse, started.authorization_url))
        answer = await listener.wait(30)
        await browsing
        check_answer(started, answer.state, answer.iss)
        return await client.exchange(
            metadata,
            code=answer.code,
            redirect_uri=listener.redirect_uri,
            client=Client(CLIENT_ID),
            code_verifier=started.code_verifier,
            signer=signer,
        )


async def call(outbound, issuer, login, signer, *, proof=True, nonce=None):
    url = f"{issuer}/me"
    headers = {"authorization": f"DPoP {login.access_token}"}
    if proof:
        clock, jti = SystemClock(), SystemEntropy().uuid()
        headers["dpop"] = signer.sign("GET", url, jti, clock.now_us(), access_token=login.access_token, nonce=nonce)
    response = await outbound.request(HttpRequest("GET", url, headers))
    if response.status == 401 and nonce is None and "dpop-nonce" in response.headers and proof:
        return await call(outbound, issuer, login, signer, nonce=response.headers["dpop-nonce"])
    return response


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
async def test_login_call_renewal_revocation_and_the_failing_call_after_it(issuer, algorithm):
    outbound = GuardedOutbound([urlsplit(issuer).netloc])
    client = OAuthClient(outbound, SystemClock(), SystemEntropy())
    signer, stranger = ProofSigner(generate_key(algorithm)), ProofSigner(generate_key(algorithm))

    login = await log_in(client, issuer, signer)
    assert login.refresh_token
    assert login.with_proof
    assert (await call(outbound, issuer, login, signer)).status == 200
    assert (await call(outbound, issuer, login, stranger)).status == 401
    assert (await call(outbound, issuer, login, signer, proof=False)).status in {400, 401}

    renewed = await client.refresh(login, signer)
    assert renewed.refresh_token != login.refresh_token
    assert (await call(outbound, issuer, renewed, signer)).status == 200

    assert await client.revoke(renewed) == (True, True)
    assert (await call(outbound, issuer, renewed, signer)).status == 401
    with pytest.raises(UpstreamError) as caught:
        await client.refresh(renewed, signer)
    assert caught.value.detail == "invalid_grant"
    await outbound.close()


async def test_a_refresh_token_that_was_rotated_is_refused_and_ends_the_log_in(issuer):
    outbound = GuardedOutbound([urlsplit(issuer).netloc])
    client = OAuthClient(outbound, SystemClock(), SystemEntropy())
    signer = ProofSigner(generate_key())
    login = await log_in(client, issuer, signer)
    renewed = await client.refresh(login, signer)
    for stale in (login, renewed):
        with pytest.raises(UpstreamError) as caught:
            await client.refresh(stale, signer)
        assert caught.value.detail == "invalid_grant"
    await outbound.close()
