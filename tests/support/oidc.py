"""The certified authorization server for the tests: started from `providers/oidc_server.mjs`, and a person's browser.

Needs node and the npm package `oidc-provider` 9, below `build/interop` or where `BRIEFCASE_INTEROP_DIR` says:
`npm install --prefix build/interop oidc-provider@9`.
"""

import html
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode, urljoin

import pytest

INTEROP = Path(os.environ.get("BRIEFCASE_INTEROP_DIR", Path(__file__).parents[2] / "build" / "interop"))
SERVER = Path(__file__).parents[1] / "providers" / "oidc_server.mjs"
FORM = re.compile(r'<form[^>]*action="([^"]+)"')

needs_oidc_provider = pytest.mark.skipif(
    shutil.which("node") is None or not (INTEROP / "node_modules" / "oidc-provider").is_dir(),
    reason=f"node or the npm package oidc-provider is missing (looked in {INTEROP})",
)


@contextmanager
def oidc_server(*options: str) -> Iterator[str]:
    """The server as a process; gives its issuer."""
    command = ["node", str(SERVER), str(INTEROP), *options]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    with server:
        yield server.stdout.readline().strip()
        server.stdin.close()


def browse(address: str) -> None:
    """What a person does: follow, type a name, agree. Ends at the loopback listener's page."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    for fields in (None, {"prompt": "login", "login": "scout", "password": "x"}, {"prompt": "consent"}):
        with browser.open(address, urlencode(fields).encode() if fields else None) as page:
            text, here = page.read().decode(), page.geturl()
        form = FORM.search(text)
        if form is None:
            return
        address = urljoin(here, html.unescape(form[1]))
