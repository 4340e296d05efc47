"""What the tests of providers share: an ASGI client without sockets, and a holder of a key who makes proofs."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from briefcase.core.jose.dpop import ProofSigner
from briefcase.core.jose.jws import generate_key
from briefcase.core.jose.pkce import challenge_of
from briefcase.edges.provider_gateway.app import ProviderGateway
from briefcase.edges.provider_gateway.settings import GatewaySettings
from briefcase.model.ports import Clock, Entropy
from support.outbound import App, Message

Headers: TypeAlias = dict[str, str] | Iterable[tuple[str, str]]
Body: TypeAlias = bytes | str | dict[str, str]

BASE_URL = "https://provider.example"
VERIFIER = "v" * 43
REDIRECT = "http://127.0.0.1:7777/callback"
ADMIN_SECRET = "admin-secret-of-the-tests"


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str | None:
        return self.headers.get("x-briefcase-error")


def ask(app: App, method: str, target: str, headers: Headers = (), body: Body = b"") -> Answer:
    """One request in a loop of its own, as `send` makes it."""
    return asyncio.run(send(app, method, target, headers, body))


async def send(app: App, method: str, target: str, headers: Headers = (), body: Body = b"") -> Answer:
    """One request to an ASGI application; `headers` is a mapping or pairs, `body` bytes, a form (dict) or JSON text."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    path, _, query = target.partition("?")
    if isinstance(body, dict):
        body = urlencode(body).encode()
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in pairs],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def told(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, told)
    start, *rest = sent
    fields = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], fields, b"".join(message.get("body", b"") for message in rest))


class Holder:
    """A client of a gateway: logs in, has a key, mints capabilities, calls."""

    def __init__(self, gateway: ProviderGateway, clock: Clock, algorithm: str = "ES256") -> None:
        self.gateway = gateway
        self.clock = clock
        self.key = generate_key(algorithm)
        self.signer = ProofSigner(self.key)
        self.count = 0

    def proof(
        self,
        method: str = "GET",
        path: str = "/api/quote",
        token: str | None = None,
        jti: str | None = None,
        **kwargs: Any,
    ) -> str:
        self.count += 1
        jti = jti or f"{self.signer.jkt}-{self.count}"
        return self.signer.sign(method, BASE_URL + path, jti, self.clock.now_us(), access_token=token, **kwargs)

    def log_in(self) -> Any:
        query = {
            "response_type": "code",
            "client_id": "briefcase",
            "redirect_uri": REDIRECT,
            "state": "state-1",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        answer = ask(self.gateway, "GET", "/oauth/authorize?" + urlencode(query))
        code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "client_id": "briefcase",
            "code_verifier": VERIFIER,
        }
        return ask(self.gateway, "POST", "/oauth/token", body=form).json

    def mint(self, *, bound: bool = True, access: str | None = None) -> Any:
        headers = {"authorization": f"Bearer {access or self.log_in()['access_token']}"}
        if bound:
            headers["dpop"] = self.proof("POST", "/token")
        answer = ask(self.gateway, "POST", "/token", headers)
        assert answer.status == 200, answer
        return answer.json["token"]

    def call(self, token: str, *, proof: str | None = None, scheme: str = "DPoP", symbol: str = "ACME") -> Answer:
        headers = [("authorization", f"{scheme} {token}")]
        if proof != "":
            headers.append(("dpop", proof or self.proof(token=token)))
        return ask(self.gateway, "GET", f"/api/quote?symbol={symbol}", headers)


def open_gateway(state_dir: Path, clock: Clock, entropy: Entropy, **settings: Any) -> ProviderGateway:
    chosen: dict[str, Any] = {"base_url": BASE_URL, "state_dir": state_dir, "admin_secret": ADMIN_SECRET} | settings
    return ProviderGateway(GatewaySettings(**chosen), clock, entropy)
