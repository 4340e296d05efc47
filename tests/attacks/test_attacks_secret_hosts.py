"""Two imported APIs say the same name for their secrets: API A's token must never go to API B."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from support.daemons import RunningDaemon

TOKEN = "tk-live-4f9a1c77-of-api-a"
ALLOW_ALL = "permit (principal, action, resource);"
LISTING = Path(__file__).parent / "listing_server.py"


class Api:
    """An API that notes each request's credential."""

    def __enter__(self):
        seen = self.seen = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                seen.append(self.headers.get("Authorization"))
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(b'{"ok":true}')

            def log_message(self, *_):
                pass

        Handler.do_GET = Handler.do_POST = Handler.answer
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def apis():
    with Api() as a, Api() as b:
        yield a, b


def document(api, operation):
    security = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.0.0",
        "info": {"title": "x", "version": "1"},
        "servers": [{"url": f"http://{api.address}"}],
        "paths": {f"/{operation}": {"get": {"operationId": operation, "responses": {"200": {"description": "ok"}}}}},
        "components": {"securitySchemes": {"bearerAuth": security}},
        "security": [{"bearerAuth": []}],
    }


def data_dir_of(tmp_path, *apis):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "briefcase.toml").write_text(f"[net]\nallow_private = {json.dumps([api.address for api in apis])}\n")
    return data


def imported(tmp_path, data, api, operation, *options):
    path = tmp_path / f"{operation}.json"
    path.write_text(json.dumps(document(api, operation)))
    command = [sys.executable, "-m", "briefcase", "tools", "import", "openapi", str(path), "--operation", operation]
    out = ["--out", str(data / "tools"), *options]
    return subprocess.run([*command, *out], capture_output=True, text=True, check=False)


def test_the_second_import_of_a_name_for_another_host_is_refused(tmp_path, apis):
    a, b = apis
    data = data_dir_of(tmp_path, a, b)
    assert imported(tmp_path, data, a, "showA").returncode == 0
    refused = imported(tmp_path, data, b, "showB")
    assert refused.returncode != 0
    assert "--credential NAME" in refused.stderr
    assert imported(tmp_path, data, b, "showB", "--credential", "of-b").returncode == 0
    assert imported(tmp_path, data, a, "listA").returncode == 0


def test_a_token_goes_only_to_the_host_it_was_set_for(tmp_path, apis):
    a, b = apis
    data = data_dir_of(tmp_path, a, b)
    for api, operation in ((a, "showA"), (b, "showB")):
        assert imported(tmp_path, tmp_path / operation, api, operation).returncode == 0
        (data / "tools").mkdir(mode=0o700, exist_ok=True)
        (tmp_path / operation / "tools" / f"{operation}.json").rename(data / "tools" / f"{operation}.json")
    with RunningDaemon(data) as daemon:
        assert daemon.request("PUT", "/v1/policy", {"policy_text": ALLOW_ALL})[0] == 200
        assert daemon.request("PUT", "/v1/secrets/x", {"value": TOKEN})[0] == 200
        for operation in ("showA", "showB"):  # two hosts name it, and nobody said which
            answer = daemon.call(operation, {})
            assert answer["message"].startswith("sandbox_violation:the secret `x` is named for"), answer
        assert (a.seen, b.seen) == ([], [])

        bound = daemon.request("PUT", "/v1/secrets/x/hosts", {"hosts": [a.address]})
        assert bound == (200, {"hosts": [a.address]})
        assert daemon.call("showA", {})["status"] == "ok"
        assert "not to" in daemon.call("showB", {})["message"]
        assert (a.seen, b.seen) == ([f"Bearer {TOKEN}"], [])
        listed = daemon.request("GET", "/v1/secrets")[1]
        assert listed == {"secrets": ["x"], "hosts": {"x": [a.address]}}

        server = {"endpoint_url": f"http://{b.address}/mcp", "bearer_secret": "x"}
        status, refused = daemon.request("POST", "/v1/mcp/servers/s", server)
        assert (status, refused["code"]) == (409, "conflict")
        started = {"command": sys.executable, "args": [str(LISTING)], "secret_env": {"TOKEN": "x"}}
        assert daemon.request("POST", "/v1/mcp/servers/s", started)[0] == 409
        daemon.stop()
        daemon.start()
        assert daemon.call("showA", {})["status"] == "ok"
        assert "sandbox_violation" in daemon.call("showB", {})["message"]
        assert b.seen == []


def test_an_unbound_token_of_one_host_is_bound_to_it_at_the_first_load(tmp_path, apis):
    a, b = apis
    data = data_dir_of(tmp_path, a, b)
    assert imported(tmp_path, data, a, "showA").returncode == 0
    with RunningDaemon(data) as daemon:
        assert daemon.request("PUT", "/v1/policy", {"policy_text": ALLOW_ALL})[0] == 200
        assert daemon.request("PUT", "/v1/secrets/x", {"value": TOKEN})[0] == 200
        assert daemon.request("GET", "/v1/secrets")[1]["hosts"] == {"x": [a.address]}
        daemon.stop()
        text = (data / "tools" / "showA.json").read_text()
        (data / "tools" / "showA.json").write_text(text.replace(a.address, b.address))  # the file is edited
        daemon.start()
        assert "sandbox_violation" in daemon.call("showA", {})["message"]
    assert b.seen == []
