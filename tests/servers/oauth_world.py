"""An MCP server that wants a log-in and the authorization server it names, in one process and without sockets.

`World.respond` answers one request; `WorldOutbound` is the guarded way out as seen by the daemon's own code. Run as a
program it serves the same over loopback: `python oauth_world.py` prints its origin. Knobs are plain attributes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent.parent))

from briefcase.core.jose.dpop import Proof, check_proof
from briefcase.model.ports import HttpResponse, HttpStream

SERVER = "https://mcp.example"
AUTHORITY = "https://as.example"
TOOLS = [
    {"name": "whoami", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "change", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
]


class World:
    """Both servers. `now_us` tells the time; a token lives for `lifetime_s`."""

    def __init__(self, now_us, server=SERVER, authority=AUTHORITY) -> None:
        self.now_us = now_us
        self.server, self.authority = server, authority
        self.lifetime_s = 600
        self.dpop = False
        self.nonces = {"as": None, "rs": None}
        self.methods = ["none"]
        self.wanted = "read"  # what the first challenge asks for
        self.wanted_by = {"change": "write"}
        self.gives_refresh = True
        self.iss = lambda: self.authority
        self.metadata, self.resource = {}, {}  # merged over what is published; None removes
        self.places = {"resource": "/.well-known/oauth-protected-resource/mcp", "challenge": True}
        self.override = None  # request -> response | None
        self.count = 0
        self.clients, self.codes, self.access, self.refresh = {}, {}, {}, {}
        self.seen = []
        self.rotated = []

    # --- what a person's browser does -------------------------------------------------------------------------------

    def agree(self, address):
        """Follow an authorization address; gives the parameters the browser comes back with."""
        parts = urlsplit(address)
        assert f"{parts.scheme}://{parts.netloc}" == self.authority, address
        query = dict(parse_qsl(parts.query))
        assert query["code_challenge_method"] == "S256"
        self.count += 1
        code = f"code-{self.count}-of-the-World-Zq7xK2mV9tR4"
        self.codes[code] = query
        iss = self.iss()
        return {"code": code, "state": query["state"], **({} if iss is None else {"iss": iss})}

    def credentials(self):
        """Every credential that was used, by name."""
        forms = [parse_qs(body.decode()) for _, url, _, body in self.seen if urlsplit(url).path == "/token"]
        used = {name: form[name][0] for form in forms for name in ("code", "code_verifier") if name in form}
        (client,) = self.clients.values()
        proofs = [headers["dpop"] for _, _, headers, _ in self.seen if "dpop" in headers]
        return {
            **used,
            **({"proof": proofs[-1]} if proofs else {}),
            "access": next(iter(self.access)),
            "refresh": next(iter(self.refresh)),
            "client secret": client["secret"],
        }

    # --- answers ----------------------------------------------------------------------------------------------------

    def respond(self, method, url, headers, body):
        headers = {name.lower(): value for name, value in headers.items()}
        self.seen.append((method, url, headers, body or b""))
        if self.override is not None and (answer := self.override(method, url, headers, body)):
            return answer
        path = urlsplit(url).path
        origin = url[: len(url) - len(urlsplit(url)._replace(scheme="", netloc="").geturl())]
        if origin == self.server and path == self.places["resource"]:
            return self.json(self.merged({
                "resource": f"{self.server}/mcp", "authorization_servers": [self.authority],
                "scopes_supported": ["read", "write"],
            }, self.resource))  # fmt: skip
        if origin == self.server and path == "/mcp":
            return self.serve(method, headers, body)
        if origin == self.authority and path == "/.well-known/oauth-authorization-server":
            return self.json(self.merged(self.published(), self.metadata))
        if origin == self.authority and method == "POST" and path in {"/token", "/register", "/revoke"}:
            return getattr(self, path[1:])(headers, body)
        return self.json({"error": "not_found"}, 404)

    def published(self):
        alg = {"dpop_signing_alg_values_supported": ["ES256"]} if self.dpop else {}
        return alg | {
            "issuer": self.authority,
            "authorization_endpoint": f"{self.authority}/authorize",
            "token_endpoint": f"{self.authority}/token",
            "registration_endpoint": f"{self.authority}/register",
            "revocation_endpoint": f"{self.authority}/revoke",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": self.methods,
            "authorization_response_iss_parameter_supported": True,
        }

    @staticmethod
    def merged(base, changes):
        return {name: value for name, value in (base | changes).items() if value is not None}

    @staticmethod
    def json(value, status=200, **headers):
        return status, {"content-type": "application/json", **headers}, json.dumps(value).encode()

    # --- the authorization server -----------------------------------------------------------------------------------

    def register(self, _headers, body):
        wanted = json.loads(body)
        self.count += 1
        client_id = f"client-{self.count}"
        method = wanted["token_endpoint_auth_method"]
        secret = None if method == "none" else f"client-secret-{self.count}-of-the-World-Zq7xK2mV9tR4"
        self.clients[client_id] = {"secret": secret, "method": method, **wanted}
        shown = {"client_id": client_id, "token_endpoint_auth_method": method}
        return self.json(shown | ({"client_secret": secret} if secret else {}), 201)

    def client_of(self, headers, form):
        method, client_id, secret = "none", form.get("client_id"), form.get("client_secret")
        if secret is not None:
            method = "client_secret_post"
        if "authorization" in headers:
            pair = base64.b64decode(headers["authorization"].removeprefix("Basic ")).decode()
            client_id, secret = (unquote(part) for part in pair.split(":"))
            method = "client_secret_basic"
        known = self.clients.get(client_id, {"secret": None, "method": "none"})
        return client_id if (known["method"], known["secret"]) == (method, secret) else None

    def token(self, headers, body):
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        client_id, jkt = self.client_of(headers, form), None
        if client_id is None:
            return self.json({"error": "invalid_client"}, 401)
        if self.dpop:
            nonce = self.nonces["as"]
            proof = self.proof_in(headers, "POST", f"{self.authority}/token", nonce)
            if not isinstance(proof, Proof):
                more = {"dpop-nonce": nonce} if nonce else {}
                return self.json({"error": proof.error}, 400, **more)
            jkt = proof.jkt
        if form["grant_type"] == "authorization_code":
            asked = self.codes.pop(form["code"], None)
            challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
            if (
                asked is None
                or asked["client_id"] != client_id
                or asked["redirect_uri"] != form["redirect_uri"]
                or asked["resource"] != form["resource"]
                or asked["code_challenge"] != challenge.rstrip(b"=").decode()
            ):
                return self.json({"error": "invalid_grant"}, 400)
            grant = {"client": client_id, "scope": asked.get("scope", ""), "jkt": jkt}
        else:
            grant = self.refresh.pop(form["refresh_token"], None)
            self.rotated.append(form["refresh_token"])
            if grant is None or (grant["client"], grant["jkt"]) != (client_id, jkt):
                return self.json({"error": "invalid_grant"}, 400)
        return self.issue(grant)

    def issue(self, grant):
        self.count += 1
        access, refresh = (
            f"access-{self.count}-of-the-World-Zq7xK2mV9tR4",
            f"refresh-{self.count}-of-the-World-Zq7xK2mV9tR4",
        )
        self.access[access] = grant | {"until_us": self.now_us() + self.lifetime_s * 1_000_000}
        answer = {
            "access_token": access,
            "token_type": "DPoP" if grant["jkt"] else "Bearer",
            "expires_in": self.lifetime_s,
            "scope": grant["scope"],
        }
        if self.gives_refresh:
            self.refresh[refresh] = grant
            answer["refresh_token"] = refresh
        return self.json(answer)

    def revoke(self, headers, body):
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if self.client_of(headers, form) is None:
            return self.json({"error": "invalid_client"}, 401)
        self.refresh.pop(form["token"], None)
        self.access.clear()
        return self.json({})

    def proof_in(self, headers, method, url, nonce, **more):
        values = [headers["dpop"]] if "dpop" in headers else []
        return check_proof(values, method, url, self.now_us(), nonces=None if nonce is None else {nonce}, **more)

    # --- the MCP server ---------------------------------------------------------------------------------------------

    def refused(self, status, error, scope, **headers):
        scheme = "DPoP" if self.dpop else "Bearer"
        words = [f'error="{error}"'] if error else []
        words += [f'scope="{scope}"'] if scope else []
        if self.places["challenge"]:
            words.append(f'resource_metadata="{self.server}{self.places["resource"]}"')
        return self.json({}, status, **{"www-authenticate": f"{scheme} {', '.join(words)}".strip(), **headers})

    def serve(self, method, headers, body):
        scheme, _, token = headers.get("authorization", "").partition(" ")
        grant = self.access.get(token)
        if grant is None or grant["until_us"] <= self.now_us():
            return self.refused(401, "invalid_token" if token else "", self.wanted)
        if grant["jkt"]:
            proof = self.proof_in(
                headers, method, f"{self.server}/mcp", self.nonces["rs"], access_token=token, bound_jkt=grant["jkt"]
            )
            if scheme != "DPoP" or not isinstance(proof, Proof):
                more = {"dpop-nonce": self.nonces["rs"]} if self.nonces["rs"] else {}
                return self.refused(401, getattr(proof, "error", "invalid_token"), "", **more)
        if method != "POST":
            return self.json({}, 405)
        message = json.loads(body)
        if "id" not in message:
            return 202, {}, b""
        name = message["params"].get("name", "")
        wanted = self.wanted_by.get(name, "") if message["method"] == "tools/call" else ""
        if wanted and wanted not in grant["scope"].split():
            return self.refused(403, "insufficient_scope", wanted)
        answer = {"jsonrpc": "2.0", "id": message["id"]}
        match message["method"]:
            case "initialize":
                capabilities = {"tools": {}}
                info = {"name": "world", "version": "1"}
                answer["result"] = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}
            case "tools/list":
                answer["result"] = {"tools": TOOLS}
            case "tools/call":
                echo = headers["authorization"] if message["params"]["arguments"].get("echo") else "done"
                answer["result"] = {"content": [{"type": "text", "text": echo}]}
            case _:
                answer["error"] = {"code": -32601, "message": "not here"}
        return self.json(answer)


class WorldOutbound:
    """The guarded way out, ending in a `World`."""

    def __init__(self, world) -> None:
        self.world = world
        self.before = None  # awaited with the request before it is answered
        self.sent = []

    async def request(self, request):
        self.sent.append(request)
        if self.before is not None:
            await self.before(request)
        await asyncio.sleep(0)  # an answer takes at least one turn of the loop
        status, headers, body = self.world.respond(request.method, request.url, dict(request.headers), request.body)
        return HttpResponse(status, headers, body)

    @contextlib.asynccontextmanager
    async def stream(self, request):
        response = await self.request(request)

        async def pieces():
            yield response.body

        yield HttpStream(response.status, response.headers, pieces())


def main() -> None:
    """Serve both over loopback, on one port; `/authorize` agrees at once."""

    async def run():
        world = World(lambda: time.time_ns() // 1_000, "", "")

        async def handle(request):
            if request.path == "/authorize":
                back = world.agree(f"{world.authority}{request.path_qs}")
                raise web.HTTPFound(f"{request.query['redirect_uri']}?{urlencode(back)}")
            if request.path == "/the-credentials":  # for the test that looks for them
                return web.json_response(world.credentials())
            url, body = f"{world.server}{request.path_qs}", await request.read()
            status, headers, data = world.respond(request.method, url, dict(request.headers), body)
            return web.Response(status=status, headers=headers, body=data)

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        world.server = world.authority = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        world.dpop, world.methods = "--dpop" in sys.argv, ["client_secret_basic"]
        sys.stdout.write(f"{world.server}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await runner.cleanup()

    asyncio.run(run())


if __name__ == "__main__":
    main()
