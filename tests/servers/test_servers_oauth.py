"""Logging in to an MCP server: found, registered, agreed to, exchanged; and everything hostile on the way refused."""

import asyncio
import json
from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest
from oauth_world import AUTHORITY, SERVER, World, WorldOutbound

from briefcase.adapters.net.outbound import GuardedOutbound
from briefcase.adapters.oauth.discovery import covers, resource_urls
from briefcase.adapters.oauth.metadata import metadata_urls
from briefcase.adapters.servers.composition import compose_logins
from briefcase.adapters.servers.config import parse_server
from briefcase.adapters.system import SystemEntropy
from briefcase.model.errors import CallerError, StoreError, UpstreamError
from support.clock import FakeClock
from support.secrets import FakeSecrets
from support.servers import SECRET, Rig
from support.waiting import until

S = 1_000_000
REDIRECT = "http://127.0.0.1:7777/callback"
URL = f"{SERVER}/mcp"
PLAIN_TOKEN = json.dumps({"access_token": "a", "token_type": "Bearer"}).encode()


class Desk:
    """A daemon's log-ins over a world; `open` composes anew, as a restart does."""

    def __init__(self):
        self.clock = FakeClock()
        self.world = World(self.clock.now_us)
        self.outbound = WorldOutbound(self.world)
        self.vault, self.own = FakeSecrets(known=SECRET), FakeSecrets(known=SECRET)
        self.remembered = set()
        self.config = parse_server("docs", {"endpoint_url": URL})
        self.open()

    def open(self):
        parts = compose_logins(
            secrets=self.vault, operator_secrets=self.own, remember=lambda token, _: self.remembered.add(token),
            outbound=self.outbound, clock=self.clock, entropy=SystemEntropy(),
        )  # fmt: skip
        self.accounts, self.logins = parts.accounts, parts.logins

    @property
    def account(self):
        return self.accounts.account("docs", self.config.endpoint_url)

    def describe(self, **oauth):
        self.config = parse_server("docs", {"endpoint_url": URL, "oauth": oauth})

    async def start(self, client_id="", scope=None, redirect_uri=REDIRECT):
        return await self.logins.start(self.config, client_id, redirect_uri, scope)

    async def agreed(self, **how):
        """What a person who agreed to a new log-in is sent back with."""
        url, _ = await self.start(**how)
        return self.world.agree(url)

    async def finish(self, back):
        await self.logins.exchange(self.config, back["code"], back["state"], back.get("iss"))

    def answer(self, path, status, body=b""):
        """Have every request to this path answered so, whatever the world would say."""
        self.world.override = lambda _m, url, _h, _b: (status, {}, body) if url.endswith(path) else None

    def break_vault(self, problem):
        """Have nothing more be stored; gives what mends it."""

        async def broken(_name, _value):
            raise StoreError(problem)

        put, self.vault.put = self.vault.put, broken
        return partial(setattr, self.vault, "put", put)

    def hold_renewals(self):
        """Stop what goes to the token endpoint on its way; gives what says that it is there, and what lets it go."""
        reached, go = asyncio.Event(), asyncio.Event()

        async def held(request):
            if request.url.endswith("/token"):
                reached.set()
                await go.wait()

        self.outbound.before = held
        return reached, go

    async def log_in(self, **how):
        url, state = await self.start(**how)
        back = self.world.agree(url)
        assert back["state"] == state
        await self.finish(back)

    async def ask(self, method="POST", body=None, name="whoami"):
        """One request as the transport makes it: sent again while the account says so."""
        body = body or {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}
        for _ in range(3):
            sent = await self.account.headers(method, URL)
            status, headers, _ = self.world.respond(method, URL, sent, json.dumps(body).encode())
            if not await self.account.is_renewed(sent, status, headers):
                return status
        return status

    def asked(self, path):
        return [body for _, url, _, body in self.world.seen if urlsplit(url).path == path]


async def run(scenario, *args):
    async def whole():
        desk = Desk()
        async with asyncio.timeout(60):
            try:
                return await scenario(desk, *args)
            finally:
                await desk.accounts.close()

    return await whole()


def query_of(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


async def test_a_log_in_from_the_first_refusal_to_the_failing_call_after_its_end():
    async def scenario(desk):
        assert await desk.ask() == 401
        assert (await desk.logins.standing(desk.config)).needs_login
        await desk.log_in()
        assert await desk.ask() == 200
        standing = await desk.logins.standing(desk.config)
        assert (standing.has_refresh, standing.needs_login) == (True, False)
        revoked = await desk.logins.revoke(desk.config)
        assert (revoked.server_id, revoked.had_refresh_token) == ("docs", True)
        assert (revoked.remote_revocation_attempted, revoked.remote_revocation_succeeded) == (True, True)
        assert await desk.ask() == 401
        assert desk.world.refresh == {}
        assert not (await desk.logins.standing(desk.config)).has_refresh
        assert [name for name in desk.vault.kept if name.endswith(".login")] == []

    await run(scenario)


async def test_a_log_in_is_there_after_a_restart_and_its_tokens_are_known_to_the_redactor():
    async def scenario(desk):
        await desk.log_in()
        desk.remembered.clear()
        desk.open()
        assert await desk.ask() == 200
        (access,), (refresh,) = desk.world.access, desk.world.refresh
        assert {access.encode(), refresh.encode()} <= desk.remembered

    await run(scenario)


async def test_what_is_asked_for_is_bound_to_the_server_and_to_this_log_in():
    async def scenario(desk):
        await desk.ask()
        urls = [(await desk.start())[0] for _ in range(5)]
        asked = [query_of(url) for url in urls]
        assert {one["resource"] for one in asked} == {URL}
        assert {one["code_challenge_method"] for one in asked} == {"S256"}
        assert len({one["state"] for one in asked}) == len({one["code_challenge"] for one in asked}) == 5
        await desk.finish(desk.world.agree(urls[0]))
        (form,) = desk.asked("/token")
        assert parse_qs(form.decode())["resource"] == [URL]

    await run(scenario)


# --- discovery ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"resource": "https://evil.example/mcp"},
        {"resource": f"{SERVER}/mcp2"},
        {"resource": f"{SERVER}/mcp/deeper"},
        {"resource": f"{SERVER}.evil.example/mcp"},
        {"resource": "http://mcp.example/mcp"},
        {"resource": f"{SERVER}:8443/mcp"},
        {"resource": f"{SERVER}/m"},
        {"resource": "javascript:alert(1)"},
        {"resource": None},
        {"resource": 5},
        {"authorization_servers": []},
        {"authorization_servers": None},
        {"authorization_servers": ["javascript:alert(1)"]},
        {"authorization_servers": ["file:///etc/passwd"]},
        {"authorization_servers": ["--flag"]},
        {"authorization_servers": ["http://as.example"]},
        {"authorization_servers": ["http://127.0.0.1:8787"]},
        {"authorization_servers": [f"{AUTHORITY}?x=1"]},
        {"authorization_servers": [f"{AUTHORITY}\\@evil.example"]},
        {"authorization_servers": [{}]},
    ],
    ids=str,
)
async def test_a_servers_metadata_that_is_not_its_own_or_leads_astray_is_not_followed(changed):
    async def scenario(desk):
        desk.world.resource = changed
        with pytest.raises(UpstreamError):
            await desk.start()
        assert all(url.startswith(SERVER) for _, url, _, _ in desk.world.seen)

    await run(scenario)


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://evil.example"},
        {"issuer": f"{AUTHORITY}//"},
        {"issuer": AUTHORITY.upper()},
        {"code_challenge_methods_supported": None},
        {"code_challenge_methods_supported": ["plain"]},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "file:///etc/passwd"},
        {"authorization_endpoint": "--flag"},
        {"authorization_endpoint": "$(touch /tmp/x)"},
        {"authorization_endpoint": f"{AUTHORITY}/$(id)`id`"},
        {"authorization_endpoint": "https://u:p@as.example/authorize"},
        {"authorization_endpoint": "http://as.example/authorize"},
        {"authorization_endpoint": "http://192.168.0.1/reboot"},
        {"authorization_endpoint": "https://192.168.0.1/reboot"},
        {"authorization_endpoint": "https://[::1]/reboot"},
        {"authorization_endpoint": None},
        {"token_endpoint": "http://169.254.169.254/latest"},
        {"token_endpoint": "https://169.254.169.254/latest"},
        {"revocation_endpoint": "gopher://as.example/"},
        {"registration_endpoint": "http://evil.example/register"},
    ],
    ids=str,
)
async def test_an_authorization_servers_metadata_that_is_not_to_be_trusted_is_not_used(changed):
    async def scenario(desk):
        desk.world.metadata = changed
        with pytest.raises(UpstreamError):
            await desk.start()
        assert [url for _, url, _, _ in desk.world.seen if "/.well-known/" not in url] == []

    await run(scenario)


@pytest.mark.parametrize(
    ("named", "issuer", "chosen"),
    [
        (f"{AUTHORITY}/", AUTHORITY, ""),
        (AUTHORITY, f"{AUTHORITY}/", ""),
        (AUTHORITY, AUTHORITY, f"{AUTHORITY}/"),
        (f"{AUTHORITY}/", AUTHORITY, AUTHORITY),
    ],
)
async def test_an_issuer_is_logged_in_at_with_and_without_the_slash_of_its_empty_path(named, issuer, chosen):
    async def scenario(desk):
        desk.world.resource, desk.world.metadata = {"authorization_servers": [named]}, {"issuer": issuer}
        desk.world.iss = lambda: issuer
        desk.describe(issuer=chosen)
        await desk.log_in()
        assert await desk.ask() == 200
        desk.world.clients["other"] = {}
        await desk.log_in()
        assert len(desk.asked("/register")) == 1

    await run(scenario)


async def test_the_iss_of_an_answer_is_the_text_that_the_metadata_have():
    async def scenario(desk):
        desk.world.iss = lambda: f"{AUTHORITY}/"
        with pytest.raises(CallerError, match="its `iss` differs"):
            await desk.log_in()

    await run(scenario)


async def test_a_code_is_not_spent_on_what_is_not_used_of_the_answer():
    async def scenario(desk):
        back = await desk.agreed()
        issued = desk.world.issue

        def odd(grant):
            status, headers, body = issued(grant)
            answer = json.loads(body)
            del answer["token_type"], answer["scope"]
            odd = b'\xef\xbb\xbf{"id":9223372036854775807,"id":NaN,"scope":["read"],'
            return status, headers, odd + json.dumps(answer | {"expires_in": "600.5"}).encode()[1:]

        desk.world.issue = odd
        await desk.finish(back)
        held = await desk.account.held()
        assert (held.scope, held.expires_us) == ("read", desk.clock.now_us() + 600 * S)
        assert await desk.ask() == 200

    await run(scenario)


async def test_a_renewal_that_failed_is_told_until_one_succeeds():
    async def scenario(desk):
        await desk.log_in()
        assert (await desk.logins.standing(desk.config)).problem == ""
        desk.clock.advance(us=541 * S)
        desk.answer("/token", 503, b'{"error":"temporarily_unavailable","error_description":"we are closed"}')
        await desk.ask()
        await desk.account.stop()
        standing = await desk.logins.standing(desk.config)
        assert "could not be renewed" in standing.problem
        assert "we are closed" in standing.problem
        assert standing.has_refresh
        desk.world.override = None
        desk.clock.advance(us=6 * S)
        await desk.ask()
        await desk.account.stop()
        assert (await desk.logins.standing(desk.config)).problem == ""

    await run(scenario)


class Guarded(WorldOutbound):
    """The server is reached; for every other host the real guard decides, over a resolver that lies."""

    def __init__(self, world, address):
        super().__init__(world)

        async def lookup(_host, _port):
            return [address]

        self.guarded = GuardedOutbound(lookup=lookup)

    async def request(self, request):
        return await (super().request(request) if self.is_known(request.url) else self.guarded.request(request))

    def is_known(self, url):
        return url.startswith((SERVER, f"{AUTHORITY}/.well-known/", f"{AUTHORITY}/register"))


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"]
)
async def test_whatever_metadata_names_is_refused_where_it_leads_inside_as_it_is_resolved(address):
    async def scenario(desk):
        outbound = Guarded(desk.world, address)
        desk.outbound = outbound
        desk.open()
        named = "https://innocent.example"
        try:
            desk.world.resource = {"authorization_servers": [named]}
            with pytest.raises(UpstreamError, match="not public") as caught:
                await desk.start()
            assert caught.value.sent is False

            desk.world.resource = {}
            for endpoint in ("registration_endpoint", "token_endpoint", "revocation_endpoint"):
                desk.world.metadata = {endpoint: f"{named}/x"}
                desk.vault.kept.clear()
                if endpoint == "registration_endpoint":
                    with pytest.raises(UpstreamError, match="not public"):
                        await desk.start()
                elif endpoint == "token_endpoint":
                    url, _ = await desk.start()
                    with pytest.raises(UpstreamError, match="not public"):
                        await desk.finish(desk.world.agree(url))
                else:
                    outbound.is_known = lambda url: not url.startswith(named)
                    await desk.log_in()
                    revoked = await desk.logins.revoke(desk.config)
                    assert revoked.remote_revocation_succeeded is False
        finally:
            await outbound.guarded.close()

    await run(scenario)


async def test_endpoints_of_a_large_issuer_may_be_on_other_hosts():
    async def scenario(desk):
        desk.world.metadata = {"token_endpoint": "https://tokens.example/token"}
        url, _ = await desk.start()
        assert url.startswith(f"{AUTHORITY}/authorize?")

    await run(scenario)


async def test_a_challenge_may_not_send_us_to_another_origin_for_the_metadata():
    async def scenario(desk):
        for place in (
            "https://evil.example/prm",
            "http://169.254.169.254/latest",
            "javascript:x",
            "http://mcp.example/",
        ):
            value = f'Bearer resource_metadata="{place}"'
            await desk.account.is_renewed({}, 401, {"www-authenticate": value})
            with pytest.raises(UpstreamError, match="another origin"):
                await desk.start()
        assert desk.world.seen == []

    await run(scenario)


async def test_the_metadata_is_where_the_challenge_says_and_nowhere_else():
    async def scenario(desk):
        desk.world.places["resource"] = "/elsewhere/metadata.json"
        with pytest.raises(UpstreamError, match="says nothing about logging in"):
            await desk.start()
        await desk.ask()
        await desk.log_in()
        assert await desk.ask() == 200
        desk.world.places["resource"] = "/gone"
        await desk.account.is_renewed({}, 401, {"www-authenticate": f'Bearer resource_metadata="{SERVER}/not/there"'})
        with pytest.raises(UpstreamError, match="not where it says"):
            await desk.start()

    await run(scenario)


@pytest.mark.parametrize("status", [301, 302, 307, 500, 503])
@pytest.mark.parametrize("where", ["oauth-protected-resource", "oauth-authorization-server"])
async def test_a_redirect_or_a_fault_is_no_metadata(where, status):
    async def scenario(desk):
        elsewhere = {"location": "http://169.254.169.254/latest"}
        desk.world.override = lambda _m, url, _h, _b: (status, elsewhere, b"") if where in url else None
        with pytest.raises(UpstreamError, match=f"answered with {status}"):
            await desk.start()
        assert not any("169.254" in request.url for request in desk.outbound.sent)

    await run(scenario)


def test_every_place_for_metadata_in_its_order():
    assert resource_urls("https://h.example/a/b") == [
        "https://h.example/.well-known/oauth-protected-resource/a/b",
        "https://h.example/.well-known/oauth-protected-resource",
    ]
    assert resource_urls("https://h.example/") == ["https://h.example/.well-known/oauth-protected-resource"]
    assert metadata_urls("https://h.example/t") == [
        "https://h.example/.well-known/oauth-authorization-server/t",
        "https://h.example/.well-known/openid-configuration/t",
        "https://h.example/t/.well-known/openid-configuration",
    ]
    assert metadata_urls("https://h.example/") == [
        "https://h.example/.well-known/oauth-authorization-server",
        "https://h.example/.well-known/openid-configuration",
    ]


@pytest.mark.parametrize(
    ("resource", "endpoint", "is_covered"),
    [
        ("https://h.example", "https://h.example/mcp", True),
        ("https://h.example/", "https://h.example/mcp?x=1", True),
        ("https://h.example/mcp", "https://h.example/mcp", True),
        ("https://h.example/a", "https://h.example/a/b", True),
        ("https://h.example/a", "https://h.example/ab", False),
        ("https://h.example/a/b", "https://h.example/a", False),
        ("https://h.example?x=1", "https://h.example/mcp", False),
        ("https://h.example/mcp?x=1", "https://h.example/mcp?x=1", True),
        ("", "https://h.example/mcp", False),
    ],
)
def test_a_resource_covers_its_own_path_and_what_is_below(resource, endpoint, is_covered):
    assert covers(resource, endpoint) is is_covered


# --- the answer -----------------------------------------------------------------------------------------------------


async def test_a_state_is_of_use_once():
    async def scenario(desk):
        url, _ = await desk.start()
        back = desk.world.agree(url)
        await desk.finish(back)
        with pytest.raises(CallerError, match="was used"):
            await desk.finish(desk.world.agree(url))
        assert len(desk.asked("/token")) == 1

    await run(scenario)


async def test_a_state_is_spent_by_an_answer_that_fails():
    async def scenario(desk):
        back = await desk.agreed()
        with pytest.raises(CallerError, match="`iss` differs"):
            await desk.finish(back | {"iss": "https://evil.example"})
        with pytest.raises(CallerError, match="was used"):
            await desk.finish(back)
        assert desk.asked("/token") == []

    await run(scenario)


@pytest.mark.parametrize("iss", ["https://evil.example", f"{AUTHORITY}//", AUTHORITY.upper(), "", None])
async def test_an_answer_of_another_issuer_or_of_none_reaches_no_token_endpoint(iss):
    async def scenario(desk):
        back = await desk.agreed() | {"iss": iss}
        with pytest.raises(CallerError):
            await desk.finish(back)
        assert desk.asked("/token") == []

    await run(scenario)


async def test_an_issuer_that_is_not_promised_may_be_missing_and_not_be_wrong():
    async def scenario(desk):
        desk.world.metadata = {"authorization_response_iss_parameter_supported": None}
        desk.world.iss = lambda: None
        await desk.log_in()
        with pytest.raises(CallerError, match="`iss` differs"):
            await desk.finish(await desk.agreed() | {"iss": "https://evil.example"})

    await run(scenario)


async def test_an_answer_is_for_the_server_it_was_begun_for_and_not_for_long():
    async def scenario(desk):
        back, own = await desk.agreed(), desk.config
        desk.config = parse_server("other", {"endpoint_url": URL})
        with pytest.raises(CallerError, match="`state`"):
            await desk.finish(back)
        desk.config = parse_server("docs", {"endpoint_url": f"{SERVER}/moved"})
        with pytest.raises(CallerError, match="`state`"):
            await desk.finish(back)
        desk.config = own
        desk.clock.advance(us=600 * S)
        with pytest.raises(CallerError, match="too old"):
            await desk.finish(back)
        with pytest.raises(CallerError, match="unknown"):
            await desk.finish(back | {"state": "guessed"})
        assert desk.asked("/token") == []

    await run(scenario)


async def test_log_ins_that_are_begun_and_never_finished_are_bounded():
    async def scenario(desk):
        first, _ = await desk.start(client_id="c")
        for _ in range(70):
            last, _ = await desk.start(client_id="c")
        with pytest.raises(CallerError):
            await desk.finish(desk.world.agree(first))
        await desk.finish(desk.world.agree(last))
        assert len(desk.logins._flow._pending) <= 64

    await run(scenario)


async def test_the_code_goes_to_the_redirect_address_that_was_named_at_the_start():
    async def scenario(desk):
        await desk.finish(await desk.agreed())
        (form,) = desk.asked("/token")
        assert parse_qs(form.decode())["redirect_uri"] == [REDIRECT]

    await run(scenario)


@pytest.mark.parametrize(
    "how",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://localhost:1/"},
        {"redirect_uri": "javascript:x"},
        {"scope": "é"},
        {"scope": "a\nb"},
        {"client_id": "x" * 2_049},
    ],
    ids=str,
)
async def test_a_log_in_with_a_parameter_out_of_bounds_asks_nobody(how):
    async def scenario(desk):
        with pytest.raises(CallerError):
            await desk.start(**how)
        assert desk.outbound.sent == []

    await run(scenario)


@pytest.mark.parametrize("body", [{"command": "x"}, {"endpoint_url": URL, "bearer_secret": "known"}])
async def test_a_server_that_has_no_log_in_is_told_so(body):
    async def scenario(desk):
        desk.config = parse_server("docs", body)
        with pytest.raises(CallerError, match="has no log-in"):
            await desk.start()
        standing = await desk.logins.standing(desk.config)
        assert (standing.has_refresh, standing.needs_login) == (False, False)

    await run(scenario)


async def test_a_refused_code_leaves_the_old_log_in_as_it_was():
    async def scenario(desk):
        await desk.log_in()
        before = dict(desk.vault.kept)
        with pytest.raises(UpstreamError, match="invalid_grant"):
            await desk.finish(await desk.agreed() | {"code": "guessed"})
        assert desk.vault.kept == before
        assert await desk.ask() == 200

    await run(scenario)


# --- who we are -----------------------------------------------------------------------------------------------------


async def test_a_client_is_registered_once_for_a_redirect_address():
    async def scenario(desk):
        await desk.log_in()
        await desk.log_in()
        assert len(desk.asked("/register")) == 1
        await desk.log_in(redirect_uri="http://127.0.0.1:8888/callback")
        (first, second) = map(json.loads, desk.asked("/register"))
        assert first["redirect_uris"] == [REDIRECT]
        assert first["application_type"] == "native"
        assert first["grant_types"] == ["authorization_code", "refresh_token"]
        assert second["redirect_uris"] == ["http://127.0.0.1:8888/callback"]

    await run(scenario)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_a_registered_client_is_known_by_the_way_the_server_takes(method):
    async def scenario(desk):
        desk.world.methods = [method]
        await desk.start()
        secret = next(iter(desk.world.clients.values()))["secret"]
        assert secret is None or secret.encode() in desk.remembered, "known to the redactor before it is ever sent"
        await desk.log_in()
        desk.clock.advance(us=590 * S)
        assert await desk.ask() == 200
        await desk.account.stop()
        assert len(desk.world.rotated) == 1
        assert (await desk.logins.revoke(desk.config)).remote_revocation_succeeded
        assert (secret is None) is (method == "none")

    await run(scenario)


async def test_another_authorization_server_never_sees_the_client_of_the_first():
    async def scenario(desk):
        await desk.log_in()
        old = next(iter(desk.world.clients))
        desk.world.authority = "https://new.example"
        desk.world.seen.clear()
        url, _ = await desk.start()
        assert url.startswith("https://new.example/authorize?")
        assert query_of(url)["client_id"] != old
        assert len(desk.asked("/register")) == 1
        assert not any(old in f"{url}{headers}{body}" for _, url, headers, body in desk.world.seen)

    await run(scenario)


async def test_a_client_registered_by_hand_uses_its_secret_and_only_at_its_issuer():
    async def scenario(desk):
        desk.own.kept["app"] = b"the-secret-of-the-app"
        desk.world.methods = ["client_secret_basic"]
        desk.world.clients["app-1"] = {"secret": "the-secret-of-the-app", "method": "client_secret_basic"}
        desk.describe(client_id="app-1", client_secret="app", issuer=AUTHORITY)
        await desk.log_in()
        assert await desk.ask() == 200
        assert desk.asked("/register") == []
        desk.world.authority = "https://new.example"
        desk.world.seen.clear()
        with pytest.raises(UpstreamError, match="registered with"):
            await desk.start()
        assert all("new.example" not in url for _, url, _, _ in desk.world.seen)

    await run(scenario)


async def test_a_secret_is_not_sent_for_another_client_than_the_one_it_was_set_for():
    async def scenario(desk):
        desk.own.kept["app"] = b"the-secret-of-the-app"
        desk.world.methods = ["client_secret_post", "none"]
        desk.describe(client_id="app-1", client_secret="app")
        await desk.log_in(client_id="somebody-else")
        assert not any(b"the-secret-of-the-app" in body for *_, body in desk.world.seen)

    await run(scenario)


async def test_a_client_whose_secret_is_not_set_is_not_used_without():
    async def scenario(desk):
        desk.describe(client_id="app-1", client_secret="missing")
        with pytest.raises(CallerError, match="`missing` is not set"):
            await desk.start()

    await run(scenario)


async def test_a_published_client_document_is_used_where_the_server_reads_them():
    async def scenario(desk):
        document = "https://client.example/briefcase.json"
        desk.describe(client_metadata_url=document)
        url, _ = await desk.start()
        assert query_of(url)["client_id"] != document
        desk.world.metadata = {"client_id_metadata_document_supported": True}
        url, _ = await desk.start()
        assert query_of(url)["client_id"] == document
        assert len(desk.asked("/register")) == 1

    await run(scenario)


async def test_without_a_client_and_without_registration_there_is_no_log_in():
    async def scenario(desk):
        desk.world.metadata = {"registration_endpoint": None}
        with pytest.raises(CallerError, match="registers no clients"):
            await desk.start()
        await desk.log_in(client_id="named-by-hand")
        assert await desk.ask() == 200

    await run(scenario)


@pytest.mark.parametrize(
    "answer",
    [
        (400, b'{"error":"invalid_redirect_uri"}'),
        (201, b"{}"),
        (201, b'{"client_id":""}'),
        (201, b'{"client_id":"a\\nb"}'),
        (201, b'{"client_id":"c","token_endpoint_auth_method":"private_key_jwt"}'),
        (201, b'{"client_id":"c","token_endpoint_auth_method":"client_secret_basic"}'),
        (201, b'{"client_id":"c","client_secret":"' + b"x" * 3_000 + b'"}'),
        (302, b""),
    ],
)
async def test_a_registration_that_gave_nothing_of_use_is_not_kept(answer):
    async def scenario(desk):
        status, body = answer
        desk.answer("/register", status, body)
        with pytest.raises(UpstreamError, match="registration"):
            await desk.start()
        assert not [name for name in desk.vault.kept if name.endswith(".client")]

    await run(scenario)


# --- scopes ---------------------------------------------------------------------------------------------------------


async def test_the_scope_is_the_challenges_else_all_that_are_named_else_none():
    async def scenario(desk):
        url, _ = await desk.start()
        assert query_of(url)["scope"] == "read write"
        await desk.ask()
        url, _ = await desk.start()
        assert query_of(url)["scope"] == "read"
        url, _ = await desk.start(scope="chosen")
        assert query_of(url)["scope"] == "chosen"
        desk.open()
        desk.world.resource = {"scopes_supported": None}
        url, _ = await desk.start()
        assert "scope" not in query_of(url)
        desk.world.metadata = {"scopes_supported": ["offline_access", "x"]}
        url, _ = await desk.start()
        assert query_of(url)["scope"] == "offline_access"

    await run(scenario)


async def test_a_call_that_wants_more_is_refused_and_the_next_log_in_asks_for_it_beside_what_was_granted():
    async def scenario(desk):
        await desk.ask()
        await desk.log_in()
        before = len(desk.world.seen)
        assert await desk.ask(name="change") == 403
        assert len(desk.world.seen) == before + 1, "a refused scope is not tried again by itself"
        assert await desk.ask() == 200
        assert (await desk.logins.standing(desk.config)).needs_login, "a call that is let in does not undo the wish"
        url, _ = await desk.start()
        assert query_of(url)["scope"] == "read write"
        await desk.finish(desk.world.agree(url))
        assert await desk.ask(name="change") == 200
        assert not (await desk.logins.standing(desk.config)).needs_login

    await run(scenario)


# --- renewal --------------------------------------------------------------------------------------------------------


async def test_a_token_is_renewed_ahead_of_its_end_once_and_nobody_waits_for_it():
    async def scenario(desk):
        await desk.log_in()
        (old,) = desk.world.access
        desk.clock.advance(us=541 * S)
        sent = await asyncio.gather(*(desk.account.headers("POST", URL) for _ in range(50)))
        assert {headers["Authorization"] for headers in sent} == {f"Bearer {old}"}, "the old one is good and is used"
        await desk.account.stop()
        assert len(desk.world.rotated) == 1
        assert (await desk.account.headers("POST", URL))["Authorization"] != f"Bearer {old}"

    await run(scenario)


async def test_a_token_that_has_ended_is_waited_for_by_all_and_renewed_once():
    async def scenario(desk):
        await desk.log_in()
        desk.clock.advance(us=600 * S)
        sent = await asyncio.gather(*(desk.account.headers("POST", URL) for _ in range(50)))
        assert len({headers["Authorization"] for headers in sent}) == 1
        assert len(desk.world.rotated) == 1
        assert await desk.ask() == 200

    await run(scenario)


async def test_a_token_its_server_refused_is_renewed_once_for_all_who_were_refused():
    async def scenario(desk):
        await desk.log_in()
        desk.world.access.clear()
        assert await asyncio.gather(*(desk.ask() for _ in range(20))) == [200] * 20
        assert len(desk.world.rotated) == 1

    await run(scenario)


async def test_a_caller_who_leaves_does_not_cut_a_renewal_off():
    async def scenario(desk):
        await desk.log_in()
        desk.clock.advance(us=600 * S)
        reached, go = desk.hold_renewals()
        caller = asyncio.create_task(desk.account.headers("POST", URL))
        await reached.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        go.set()
        await desk.account.stop()
        assert len(desk.world.rotated) == 1
        assert await desk.ask() == 200
        desk.open()
        assert await desk.ask() == 200, "what was rotated was kept"

    await run(scenario)


async def test_a_kill_between_rotation_and_storage_leaves_the_old_pair_whole_and_a_person_logs_in_again():
    async def scenario(desk):
        await desk.log_in()
        before = dict(desk.vault.kept)
        desk.clock.advance(us=600 * S)
        mend = desk.break_vault("killed here")
        with pytest.raises(UpstreamError, match="could not be renewed"):
            await desk.account.headers("POST", URL)
        assert desk.vault.kept == before, "never half a token"
        assert len(desk.world.rotated) == 1
        mend()
        desk.open()
        with pytest.raises(UpstreamError, match="invalid_grant"):
            await desk.account.headers("POST", URL)
        assert (await desk.logins.standing(desk.config)).needs_login
        assert await desk.account.headers("POST", URL) == {}, "nothing is sent with what has ended"
        await desk.log_in()
        assert await desk.ask() == 200

    await run(scenario)


async def test_what_could_not_be_kept_is_not_used():
    async def scenario(desk):
        await desk.log_in()
        desk.clock.advance(us=541 * S)
        desk.break_vault("disk full")
        first = await desk.account.headers("POST", URL)
        await desk.account.stop()
        await asyncio.sleep(0)
        assert await desk.account.headers("POST", URL) == first

    await run(scenario)


async def test_a_renewal_that_fails_on_the_way_keeps_the_log_in_and_is_not_tried_at_every_call():
    async def scenario(desk):
        await desk.log_in()
        desk.clock.advance(us=541 * S)
        desk.answer("/token", 503)
        for _ in range(20):
            assert await desk.ask() == 200
            await desk.account.stop()
            await asyncio.sleep(0)
        assert len(desk.asked("/token")) == 2  # the exchange, and one attempt
        desk.world.override = None
        desk.clock.advance(us=6 * S)
        await desk.ask()
        await desk.account.stop()
        assert len(desk.world.rotated) == 1

    await run(scenario)


async def test_a_revocation_ends_a_renewal_that_is_under_way_with_it():
    async def scenario(desk):
        await desk.log_in()
        desk.clock.advance(us=541 * S)
        reached, go = desk.hold_renewals()
        await desk.account.headers("POST", URL)  # begins to renew
        await reached.wait()
        revoking = asyncio.create_task(desk.logins.revoke(desk.config))
        for _ in range(10):
            await asyncio.sleep(0)
        go.set()
        await revoking
        await desk.account.stop()
        assert await desk.account.headers("POST", URL) == {}
        assert not [name for name in desk.vault.kept if name.endswith(".login")], "no renewal brings it back"
        assert desk.world.refresh == {}, "it is the new pair that was revoked"

    await run(scenario)


async def test_a_revocation_that_its_server_did_not_hear_of_ends_the_log_in_here():
    async def scenario(desk):
        await desk.log_in()
        desk.answer("/revoke", 500)
        revoked = await desk.logins.revoke(desk.config)
        assert (revoked.remote_revocation_attempted, revoked.remote_revocation_succeeded) == (True, False)
        assert await desk.ask() == 401
        revoked = await desk.logins.revoke(desk.config)
        assert (revoked.had_refresh_token, revoked.remote_revocation_attempted) == (False, False)

    await run(scenario)


async def test_a_login_that_can_not_be_renewed_is_used_to_its_end():
    async def scenario(desk):
        desk.world.gives_refresh = False
        await desk.log_in()
        desk.clock.advance(us=599 * S)
        assert await desk.ask() == 200
        desk.clock.advance(us=1 * S)
        assert await desk.ask() == 401
        standing = await desk.logins.standing(desk.config)
        assert (standing.has_refresh, standing.needs_login) == (False, True)
        assert len(desk.asked("/token")) == 1

    await run(scenario)


# --- where a token goes ---------------------------------------------------------------------------------------------


async def test_a_token_of_one_address_is_not_sent_to_another():
    async def scenario(desk):
        await desk.log_in()
        for url in ("https://other.example/mcp", f"{SERVER}/other", "http://mcp.example/mcp"):
            assert await desk.accounts.account("docs", url).headers("POST", url) == {}
        assert "Authorization" in await desk.account.headers("POST", URL)

    await run(scenario)


async def test_what_is_held_of_a_server_that_was_removed_is_gone():
    async def scenario(desk):
        await desk.log_in()
        account = desk.account
        await desk.account.signer()
        await desk.logins.forget("docs")
        assert set(desk.vault.kept) == {"known"}
        assert await account.headers("POST", URL) == {}

    await run(scenario)


# --- proofs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonces", [{"as": None, "rs": None}, {"as": "nonce-1", "rs": "nonce-2"}])
async def test_where_the_server_binds_tokens_every_request_carries_a_fresh_proof(nonces):
    async def scenario(desk):
        desk.world.dpop, desk.world.nonces = True, nonces
        await desk.ask()
        await desk.log_in()
        assert await desk.ask() == 200
        assert await desk.ask() == 200
        sent = [await desk.account.headers("POST", URL) for _ in range(5)]
        assert len({one["DPoP"] for one in sent}) == 5
        assert all(one["Authorization"].startswith("DPoP ") for one in sent)
        desk.clock.advance(us=600 * S)
        assert await asyncio.gather(*(desk.ask() for _ in range(10))) == [200] * 10

    await run(scenario)


async def test_a_nonce_that_changes_is_taken_by_each_request_that_was_refused_for_it():
    async def scenario(desk):
        desk.world.dpop, desk.world.nonces = True, {"as": None, "rs": "one"}
        await desk.log_in()
        sent = [await desk.account.headers("POST", URL) for _ in range(3)]
        refused = {"www-authenticate": 'DPoP error="use_dpop_nonce"', "dpop-nonce": "one"}
        assert [await desk.account.is_renewed(one, 401, refused) for one in sent] == [True] * 3
        assert await desk.ask() == 200

    await run(scenario)


async def test_a_bound_log_in_is_not_renewed_to_a_plain_one():
    async def scenario(desk):
        desk.world.dpop = True
        await desk.log_in()
        desk.clock.advance(us=600 * S)
        desk.answer("/token", 200, PLAIN_TOKEN)
        with pytest.raises(UpstreamError, match="bound to no key"):
            await desk.account.headers("POST", URL)

    await run(scenario)


async def test_a_server_that_wants_bound_tokens_gets_no_plain_one():
    async def scenario(desk):
        desk.world.resource = {"dpop_bound_access_tokens_required": True}
        with pytest.raises(UpstreamError, match="binds none"):
            await desk.start()
        desk.world.dpop = True
        back = await desk.agreed()
        desk.answer("/token", 200, PLAIN_TOKEN)
        with pytest.raises(UpstreamError, match="plain one"):
            await desk.finish(back)
        assert not [name for name in desk.vault.kept if name.endswith(".login")]

    await run(scenario)


async def test_a_call_of_a_server_that_wants_a_log_in_is_told_so_at_once():
    async def scenario(desk):
        rig = Rig(desk.outbound)
        await rig.registry.set_server("docs", {"endpoint_url": URL}, "operator")
        connection = rig.registry.connection("docs")
        await until(lambda: connection.wants_credential)
        async with asyncio.timeout(60):
            with pytest.raises(UpstreamError, match="oauth-login docs") as caught:
                await connection.session(60)
        assert caught.value.sent is False
        await rig.registry.stop()

    await run(scenario)
