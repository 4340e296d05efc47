"""A browser as far as the operator page can tell: its cookies by path, its forms, and what it adds to each request."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from support.api import OPERATOR_TOKEN, Rig

HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


class Page(NamedTuple):
    """What came back: status, headers by name in lower case, and the body as text."""

    status: int
    headers: Mapping[str, str]
    text: str

    def fields(self) -> dict[str, str]:
        """The hidden fields of the form that decides, else of the last one."""
        forms = self.text.split("<form")
        form = next((one for one in forms if "shown_digest_hex" in one), forms[-1])
        return {name: html.unescape(value) for name, value in HIDDEN.findall(form)}

    def token(self) -> str:
        """The token that its session's forms have."""
        return str(dict(HIDDEN.findall(self.text))["form_token"])


class Browser:
    """One profile. `base` is the session's own part of the paths once it is logged in."""

    def __init__(self, authority: str) -> None:
        self.authority = authority
        self.origin = f"http://{authority}"
        self.cookies: dict[str, str] = {}  # by path, as `name=value`
        self.base = ""

    async def get(self, path: str, **headers: str) -> Page:
        return await self.ask("GET", path, b"", {"sec-fetch-site": "none", **_named(headers)})

    async def post(self, path: str, form: Mapping[str, str] | bytes, **headers: str) -> Page:
        """Send a form as one of the page's own; `headers` replace what a browser would say, empty ones leave it out."""
        said = {
            "origin": self.origin,
            "sec-fetch-site": "same-origin",
            "content-type": "application/x-www-form-urlencoded",
        }
        body = form if isinstance(form, bytes) else urlencode(form).encode()
        return await self.ask("POST", path, body, {**said, **_named(headers)})

    async def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Page:
        """One request on a connection of its own."""
        sent = {"host": self.authority, "cookie": self._cookie_of(path), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items() if value)]
        if method == "POST":
            lines.append(f"content-length: {len(body)}")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(self.authority.split(":")[1]))
        try:
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status, *rest = head.rstrip().split("\r\n")
            told = dict(line.split(": ", 1) for line in rest)
            text = (await reader.readexactly(int(told.get("content-length", "0")))).decode()
        finally:
            writer.close()
        self._keep(told)
        return Page(int(status.split()[1]), told, text)

    async def log_in(self, url: str) -> Page:
        """Follow a link and continue: what a person does with `briefcase ui`."""
        shown = await self.get(url.removeprefix(self.origin))
        moved = await self.post("/ui/login", shown.fields())
        self.base = moved.headers["location"].rsplit("/", 1)[0]
        return moved

    def _cookie_of(self, path: str) -> str:
        return "; ".join(cookie for of, cookie in self.cookies.items() if path == of or path.startswith(f"{of}/"))

    def _keep(self, headers: Mapping[str, str]) -> None:
        if "set-cookie" in headers:
            cookie, *attributes = headers["set-cookie"].split("; ")
            path = next(one.removeprefix("Path=") for one in attributes if one.startswith("Path="))
            self.cookies[path] = cookie


async def link_of(rig: Rig, token: str = OPERATOR_TOKEN) -> str:
    """A link as `briefcase ui` gets it."""
    status, _, answer = await rig.ask("POST", "/v1/page/links", token=token)
    assert status == 200, answer
    return str(answer["url"])


async def logged_in(rig: Rig, token: str = OPERATOR_TOKEN) -> Browser:
    """A browser of whoever has a token."""
    url = await link_of(rig, token)
    browser = Browser(urlsplit(url).netloc)
    await browser.log_in(url)
    return browser


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
