"""An MCP server whose log-ins a certified authorization server makes: the whole way against somebody else's code.

Found by the server's metadata, registered dynamically, bound to the server (RFC 8707) and to our key (RFC 9449), the
token looked up there for each call (RFC 7662), renewed with rotation, revoked; and the failing call after it.
"""

import asyncio
import base64
import json
import urllib.request
from urllib.parse import urlencode, urlsplit

import pytest
from oauth_world import World, WorldOutbound

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.oauth.loopback import LoopbackListener
from briefcase.adapters.servers.composition import compose_logins
from briefcase.adapters.servers.config import parse_server
from briefcase.adapters.system import SystemClock, SystemEntropy
from support.oidc import browse, needs_oidc_provider, oidc_server
from support.secrets import FakeSecrets

pytestmark = needs_oidc_provider

SERVER = "http://mcp.example"
URL = f"{SERVER}/mcp"
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}
OWN = base64.b64encode(b"resource-server:secret-of-the-resource-server").decode()


class RealWorld(World):
    """The MCP server alone: whether a token is good, and whose, it asks the authorization server."""

    def serve(self, method, headers, body):
        token = headers.get("authorization", "").partition(" ")[2]
        found = self.introspect(token) if token else {}
        if found.get("active") and found["aud"] == URL:
            grant = {"scope": found["scope"], "jkt": found["cnf"]["jkt"], "until_us": self.now_us() + 1_000_000}
            self.access = {token: grant}
        else:
            self.access = {}
        return super().serve(method, headers, body)

    def introspect(self, token):
        request = urllib.request.Request(
            f"{self.authority}/token/introspection",
            urlencode({"token": token}).encode(),
            {"authorization": f"Basic {OWN}"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())


class SplitOutbound(WorldOutbound):
    """To the server in this process, and to the authorization server over its socket."""

    def __init__(self, world):
        super().__init__(world)
        self.guarded = GuardedOutbound([urlsplit(world.authority).netloc])

    async def request(self, request):
        if request.url.startswith(self.world.authority):
            return await self.guarded.request(request)
        return await super().request(request)


@pytest.fixture(params=["", "nonce"], ids=["without nonces", "with nonces"])
def issuer(request):
    with oidc_server(request.param) as address:
        yield address


async def test_log_in_call_renewal_revocation_and_the_failing_call_after_it(issuer):
    clock, vault = SystemClock(), FakeSecrets()
    world = RealWorld(clock.now_us, SERVER, issuer)
    world.dpop = True
    outbound = SplitOutbound(world)
    parts = compose_logins(
        secrets=vault, operator_secrets=FakeSecrets(), remember=lambda *_: None, outbound=outbound, clock=clock,
        entropy=SystemEntropy(),
    )  # fmt: skip
    config, logins = parse_server("docs", {"endpoint_url": URL}), parts.logins
    account = parts.accounts.account("docs", URL)

    async def call():
        for _ in range(3):
            sent = await account.headers("POST", URL)
            status, headers, _ = await asyncio.to_thread(world.respond, "POST", URL, sent, json.dumps(CALL).encode())
            if not await account.is_renewed(sent, status, headers):
                break
        return status

    assert await call() == 401
    async with LoopbackListener() as listener:
        url, listener.state = await logins.start(config, "", listener.redirect_uri, None)
        browsing = asyncio.create_task(asyncio.to_thread(browse, url))
        answer = await listener.wait(30)
        await browsing
        await logins.exchange(config, answer.code, answer.state, answer.iss)
    login = await account.held()
    assert (login.is_bound, login.resource, "read" in login.scope.split()) == (True, URL, True)
    assert await call() == 200
    assert (await logins.standing(config)).has_refresh

    # the token is of use with our key alone
    status, _, _ = await asyncio.to_thread(
        world.respond, "POST", URL, {"Authorization": f"Bearer {login.access_token}"}, json.dumps(CALL).encode()
    )
    assert status == 401

    # renewed with rotation: the old refresh token is used up
    renewed = await parts.accounts.renewals.fresh("docs", account.signer, spoilt=login.access_token)
    assert renewed.refresh_token != login.refresh_token
    await account.put(renewed)
    assert await call() == 200

    revoked = await logins.revoke(config)
    assert (revoked.remote_revocation_attempted, revoked.remote_revocation_succeeded) == (True, True)
    assert await call() == 401
    await account.put(renewed)  # as if somebody had kept it: the call tries to renew it, and is refused
    assert await call() == 401
    assert (await parts.accounts.custody.login("docs")).has_ended
    assert (await logins.standing(config)).needs_login
    await parts.accounts.close()
    await outbound.guarded.close()
