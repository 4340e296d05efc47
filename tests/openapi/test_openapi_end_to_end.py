"""An operation of a document is called in a daemon that ran all the while, and is gone when its tool is removed."""

import json
import subprocess
import sys

from support.daemons import RunningDaemon
from support.upstream import API_KEY, TicketDesk

ALLOW_ALL = "permit (principal, action, resource);"
YAML = """
openapi: 3.0.3
info: {{title: Ticket Desk, version: "1"}}
servers: [{{url: "{url}/{{base}}", variables: {{base: {{default: api}}}}}}]
security: [{{key: []}}]
components:
  securitySchemes: {{key: {{type: apiKey, in: header, name: X-Api-Key}}}}
paths:
  /tickets:
    get:
      operationId: tickets/list
      parameters: [{{name: status, in: query, schema: {{type: string}}}}]
      responses: {{200: {{description: them}}}}
"""


def test_an_import_and_a_removal_need_no_restart(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with TicketDesk() as desk:
        (data / "briefcase.toml").write_text(f"[net]\nallow_private = {json.dumps([desk.url.partition('://')[2]])}\n")
        (tmp_path / "desk.yaml").write_text(YAML.format(url=desk.url))
        with RunningDaemon(data) as daemon:

            def tools(*args):
                command = [sys.executable, "-m", "briefcase", "tools", *args]
                return subprocess.run(command, env=daemon.env, capture_output=True, text=True, check=False)

            assert daemon.request("PUT", "/v1/policy", {"policy_text": ALLOW_ALL})[0] == 200
            imported = tools("import", "openapi", str(tmp_path / "desk.yaml"), "--operation", "tickets/list")
            assert imported.returncode == 0, imported.stderr
            assert "loaded: 1 added" in imported.stderr

            assert daemon.request("PUT", "/v1/secrets/ticket-desk", {"value": API_KEY})[0] == 200
            host = desk.url.partition("://")[2]
            assert daemon.request("GET", "/v1/secrets")[1]["hosts"] == {"ticket-desk": [host]}
            answer = daemon.call("tickets_list", {"status": "open"})
            assert answer["status"] == "ok", answer
            assert [ticket["id"] for ticket in answer["result"]["content"]["tickets"]] == [1]

            removed = tools("remove", "tickets_list")
            assert (removed.returncode, "loaded: 1 removed" in removed.stderr) == (0, True), removed.stderr
            assert daemon.call("tickets_list", {})["reason"] == "unknown_tool"
            kinds = [receipt["event"]["kind"] for receipt in daemon.request("GET", "/v1/receipts")[1]["receipts"]]
            assert kinds.count("tools_loaded") == 2
            assert daemon.request("POST", "/v1/receipts/verify")[1]["ok"]
