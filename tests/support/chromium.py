"""A headless Chromium with a virtual authenticator, steered over its DevTools protocol, and a page at `localhost`."""

from __future__ import annotations

import asyncio
import http.server
import json
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Self

import aiohttp

from support.waiting import BOUND_S, until

POLL_S = 0.05
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AUTHENTICATOR = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>page</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Chromium:
    """`async with Chromium() as browser`: `origin` is its page's, `credentials` runs a ceremony there."""

    def __init__(self) -> None:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
        self.origin = f"http://localhost:{self.server.server_address[1]}"
        self._number = 0

    async def __aenter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self._home = tempfile.TemporaryDirectory(prefix="bc-", ignore_cleanup_errors=True)
        command = [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--remote-debugging-port=0", f"--user-data-dir={self._home.name}", self.origin,
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port_file = Path(self._home.name) / "DevToolsActivePort"
        await until(lambda: port_file.exists() and "\n" in port_file.read_text())
        port = port_file.read_text().split("\n", 1)[0]
        self._http = aiohttp.ClientSession()
        async with self._http.get(f"http://127.0.0.1:{port}/json/list") as answer:
            targets = json.loads(await answer.text())
        page = next(target for target in targets if target["type"] == "page")
        self._socket = await self._http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        await self._tell("WebAuthn.enable")
        self.authenticator = (await self._tell("WebAuthn.addVirtualAuthenticator", options=AUTHENTICATOR))[
            "authenticatorId"
        ]
        await self.open(self.origin)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()
        await self._http.close()
        self._process.kill()
        self._process.wait()
        self.server.shutdown()
        self.server.server_close()
        self._home.cleanup()

    async def open(self, url: str) -> None:
        await self._tell("Page.navigate", url=url)
        for _ in range(int(BOUND_S / POLL_S)):
            if await self.run("document.readyState + location.href") == f"complete{url}/":
                return
            await asyncio.sleep(POLL_S)
        raise AssertionError(f"`{url}` did not load")

    async def verify_user(self, *, is_verified: bool) -> None:
        await self._tell("WebAuthn.setUserVerified", authenticatorId=self.authenticator, isUserVerified=is_verified)

    async def credentials(self, verb: str, options: dict[str, Any]) -> dict[str, Any]:
        """What `navigator.credentials.create` or `get` gives, by its `toJSON`; or `{"error": name}`."""
        parse = {"create": "parseCreationOptionsFromJSON", "get": "parseRequestOptionsFromJSON"}[verb]
        script = f"""(async () => {{
            try {{
                const publicKey = PublicKeyCredential.{parse}({json.dumps(options)});
                return JSON.stringify((await navigator.credentials.{verb}({{publicKey}})).toJSON());
            }} catch (error) {{ return JSON.stringify({{error: error.name}}); }}
        }})()"""
        found: dict[str, Any] = json.loads(await self.run(script))
        return found

    async def run(self, script: str) -> Any:
        told = await self._tell(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        return told["result"].get("value")

    async def _tell(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            said = json.loads((await self._socket.receive(BOUND_S)).data)
            if said.get("id") == number:
                assert "error" not in said, said
                result: dict[str, Any] = said["result"]
                return result
