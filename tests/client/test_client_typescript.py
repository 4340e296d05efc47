"""The TypeScript client: compiled as it stands, tried under Node against a real daemon, fails closed as the other does.

It needs Node and the compiler that `make typescript` installs; without them its tests are skipped, and say so. That its
types are those of openapi.json is held by the test of everything that is generated.
"""

import json
import shutil
import subprocess
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Thread

import pytest

from support.daemons import RunningDaemon

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "docs" / "clients" / "typescript"
COMPILER = ROOT / "build" / "typescript" / "node_modules"
PROGRAM = Path(__file__).parent / "typescript_program.mjs"
MANIFEST = {
    "caller_tools": [
        {"id": "look_up", "category": "read", "input_schema": {"properties": {"word": {"type": "string"}}}},
        {"id": "send_mail", "category": "write"},
    ]
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The client as JavaScript."""
    if shutil.which("node") is None:
        pytest.skip("no `node` found")
    if not (COMPILER / ".bin" / "tsc").exists():
        pytest.skip("no compiler: `make typescript` installs it")
    place = tmp_path_factory.mktemp("typescript")
    for name in ("boundary.ts", "wire.ts", "tsconfig.json", "package.json"):
        shutil.copy(SOURCE / name, place)
    (place / "node_modules").symlink_to(COMPILER)
    done = subprocess.run([COMPILER / ".bin" / "tsc", "-p", place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    shutil.copy(PROGRAM, place / "program.mjs")
    return place


def test_a_program_is_decided_waited_for_run_and_reported(compiled, tmp_path):
    data_dir = tmp_path / "data"
    (data_dir / "tools").mkdir(mode=0o700, parents=True)
    data_dir.chmod(0o700)
    manifest = data_dir / "tools" / "tools.json"
    manifest.write_text(json.dumps(MANIFEST))
    manifest.chmod(0o600)
    with RunningDaemon(data_dir) as daemon:
        token = daemon.request("POST", "/v1/agents", {"name": "node"})[1]["token"]
        env = {**daemon.env, "BRIEFCASE_AUTH_TOKEN": token, "SCENE_OPERATOR_TOKEN": daemon.operator_token}
        pipe = subprocess.PIPE
        with subprocess.Popen(["node", compiled / "program.mjs"], env=env, stdin=pipe, stdout=pipe, text=True) as node:

            def said():
                return json.loads(node.stdout.readline())

            assert said() == {"allowed": "ox is a word", "ran": ["ox"]}
            denied = said()
            assert (denied["denied"], denied["reason"]) == (True, "unknown_tool")
            assert denied["next"]
            assert denied["receipt"]
            assert said() == {"same": True, "none": ""}
            assert said() == {"failed": "RangeError"}
            pending = said()
            assert (pending["pending"], pending["sent"]) == (True, 0)
            assert daemon.request("POST", f"/v1/approvals/{pending['approval']}/approve", {})[0] == HTTPStatus.OK
            node.stdin.write("go\n")
            node.stdin.flush()
            assert said() == {"sent": [{"to": "ann", "parts": ["as shown"]}]}
            last = said()
            assert last["echoed"] == {"echo": "hi"}
            assert last["faults"] == ["forbidden", "daemon_unreachable", "invalid_args", "invalid_args"]
            assert last["ran"] == ["ox"]
        assert node.returncode == 0
        receipts = daemon.request("GET", "/v1/receipts?limit=50&kind=outcome")[1]["receipts"]
        outcomes = [one["event"] for one in receipts]
        assert [one.get("error") or "ok" for one in outcomes if one["tool_id"] != "echo"] == ["ok", "RangeError", "ok"]
        assert "a secret" not in json.dumps(outcomes)
        assert daemon.request("POST", "/v1/receipts/verify")[1]["ok"] is True


class NoDaemon(ThreadingMixIn, UnixStreamServer):
    """Answers whose token it is as a daemon does, and anything to a decision."""

    daemon_threads = True

    def __init__(self, path, status, body):
        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                self.rfile.read(int(self.headers.get("content-length") or 0))
                is_decision = self.path.startswith("/v1/decide")
                self.send_response(status if is_decision else HTTPStatus.OK)
                said = body if is_decision else b'{"role": "agent"}'
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def do_GET(self):
                self.answer()

            def do_POST(self):
                self.answer()

            def address_string(self):
                return "here"

            def log_message(self, *_):
                pass

        super().__init__(str(path), Handler)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"allowed"),
        (200, b"[]"),
        (200, b'{"status": "yes", "receipt_id": 1}'),
        (200, b'{"status": "allowed"}'),
        (200, b'{"status": "allowed", "receipt_id": "1"}'),
        (201, b'{"status": "allowed", "receipt_id": 1}'),
        (500, b'{"status": "allowed", "receipt_id": 1}'),
        (200, b'{"status": "denied"}'),
        (200, b'{"status": "approval_required"}'),
    ],
)
def test_what_is_no_verdict_lets_no_program_of_node_run(compiled, tmp_path_factory, status, body):
    path = tmp_path_factory.mktemp("s") / "d"
    script = (
        'import { Boundary, BoundaryFault } from "./boundary.js";'
        f'const boundary = new Boundary({{ socketPath: {json.dumps(str(path))}, token: "t", waitMs: 0 }});'
        'const ran = () => process.stdout.write("ran");'
        "const tell = (error) => process.stdout.write(String(error instanceof BoundaryFault));"
        'await boundary.call("t", {}, ran).catch(tell);'
    )
    with NoDaemon(path, status, body) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        (compiled / "wrong.mjs").write_text(script)
        done = subprocess.run(["node", compiled / "wrong.mjs"], capture_output=True, text=True, check=True, timeout=60)
        server.shutdown()
    assert done.stdout == "true"
