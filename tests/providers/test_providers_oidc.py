"""Against a certified authorization server: log in, call with a proof, renew, revoke, and the failing call after it.

Needs node and the npm package `oidc-provider` 9, below `build/interop` or where `BRIEFCASE_INTEROP_DIR` says:
`npm install --prefix build/interop oidc-provider@9`.
"""

import asyncio
import html
import os
import re
import shutil
import subprocess
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import pytest

from briefcase.capability.dpop import ProofSigner
from briefcase.capability.jws import generate_key
from briefcase.errors import UpstreamError
from briefcase.net.outbound import GuardedOutbound
from briefcase.ports import HttpRequest
from briefcase.providers.custody import Client
from briefcase.providers.loopback import LoopbackListener
from briefcase.providers.oauth import OAuthClient, check_answer
from briefcase.system import SystemClock, SystemEntropy

INTEROP = Path(os.environ.get("BRIEFCASE_INTEROP_DIR", Path(__file__).parents[2] / "build" / "interop"))
SERVER = Path(__file__).parent / "oidc_server.mjs"
CLIENT_ID = "briefcase"
FORM = re.compile(r'<form[^>]*action="([^"]+)"')

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (INTEROP / "node_modules" / "oidc-provider").is_dir(),
    reason=f"node or the npm package oidc-provider is missing (looked in {INTEROP})",
)


@pytest.fixture(params=["", "nonce"], ids=["without nonces", "with nonces"])
def issuer(request):
    command = ["node", str(SERVER), str(INTEROP), request.param]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with server:
        yield server.stdout.readline().strip()
        server.stdin.close()


def browse(address):
    """What a person does: follow, type a name, agree. Ends at the loopback listener's page."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    for fields in (None, {"prompt": "login", "login": "scout", "password": "x"}, {"prompt": "consent"}):
        with browser.open(address, urlencode(fields).encode() if fields else None) as page:
            text, here = page.read().decode(), page.geturl()
        form = FORM.search(text)
        if form is None:
            return
        address = urljoin(here, html.unescape(form[1]))


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
def test_login_call_renewal_revocation_and_the_failing_call_after_it(issuer, algorithm):
    async def scenario():
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

    asyncio.run(scenario())


def test_a_refresh_token_that_was_rotated_is_refused_and_ends_the_log_in(issuer):
    async def scenario():
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

    asyncio.run(scenario())
