"""A client's own file of MCP servers: every form, what becomes a secret, and what is left out with its reason."""

import json

import pytest

from briefcase.edges.cli.client_files import Found, LeftOut, looks_secret, read_client_file
from briefcase.model.errors import CallerError

KEY = "sk-0123456789abcdef0123"

CLAUDE = {
    "mcpServers": {
        "Files": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv"]},
        "git hub": {"command": "docker", "args": ["run"], "env": {"GITHUB_TOKEN": "abc12345", "LOG_LEVEL": "info"}},
        "briefcase": {"command": "/usr/local/bin/briefcase", "args": ["gateway"]},
    }
}
CURSOR = {
    "mcpServers": {
        "docs": {"url": "https://docs.example/mcp", "headers": {"Authorization": f"Bearer {KEY}", "X-Org": "acme"}},
        "keyed": {"serverUrl": "https://keyed.example/mcp", "headers": {"X-Api-Key": "${env:DOCS_KEY}"}},
        "off": {"command": "x", "disabled": True},
    }
}
VSCODE = b"""{
  // the servers of this folder
  "servers": {
    "search": {"type": "stdio", "command": "uvx", "args": ["mcp-search"],
               "env": {"SEARCH_KEY": "${input:search-key}", "NOTE": "not // a comment, ]"},},
    /* one that asks for a file */
    "filed": {"command": "x", "envFile": "${workspaceFolder}/.env"},
  },
  "inputs": [{"id": "search-key", "type": "promptString", "password": true}],
}
"""
ZED = {
    "theme": "One Dark",
    "context_servers": {
        "old": {"source": "custom", "command": {"path": "old-server", "args": ["a"], "env": {"A": "1"}}},
        "new": {"command": "new-server", "args": [], "env": {}},
        "far": {"url": "https://far.example/mcp", "headers": {}},
        "off": {"enabled": False, "command": "x"},
    },
}
ENVIRON = {"DOCS_KEY": "key-of-docs-123"}


def read(document):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_client_file(data, ENVIRON)


def summary(server_id):
    return {"id": server_id, "endpoint_url": "stdio:x", "has_oauth_refresh": False}


def process(command, args=(), env=None, secret_env=None):
    return {"command": command, "args": list(args), "env": env or {}, "secret_env": secret_env or {}, "cwd": ""}


def remote(url, headers=None, header_secrets=None):
    return {"endpoint_url": url, "headers": headers or {}, "header_secrets": header_secrets or {}}


def test_the_form_of_claude_desktop_is_read():
    files, github, own = read(CLAUDE)
    arguments = ["-y", "@modelcontextprotocol/server-filesystem", "/srv"]
    assert files == Found("Files", "files", process("npx", arguments), {})
    described = process("docker", ["run"], {"LOG_LEVEL": "info"}, {"GITHUB_TOKEN": "git-hub-github-token"})
    assert github == Found("git hub", "git-hub", described, {"git-hub-github-token": "abc12345"})
    assert own == LeftOut("briefcase", "it is briefcase's own gateway")


def test_the_form_of_cursor_is_read():
    docs, keyed, off = read(CURSOR)
    header = {"Authorization": {"secret": "docs-authorization", "prefix": "Bearer "}}
    assert docs.body == remote("https://docs.example/mcp", {"X-Org": "acme"}, header)
    assert docs.secrets == {"docs-authorization": KEY}
    assert keyed.body["header_secrets"] == {"X-Api-Key": {"secret": "keyed-x-api-key", "prefix": ""}}
    assert keyed.secrets == {"keyed-x-api-key": "key-of-docs-123"}
    assert off == LeftOut("off", "it is switched off there")


def test_the_form_of_vs_code_is_read_with_its_comments_and_what_it_asks_for():
    search, filed = read(VSCODE)
    assert search.body["env"] == {"NOTE": "not // a comment, ]"}
    assert search.body["secret_env"] == {"SEARCH_KEY": "search-search-key"}
    assert (search.secrets, search.wanted) == ({}, ("search-search-key",))
    assert isinstance(filed, LeftOut)
    assert "envFile" in filed.problem


def test_settings_of_vs_code_hold_the_same_below_another_key():
    (one,) = read({"editor.fontSize": 12, "mcp": {"servers": {"a": {"command": "x"}}}})
    assert one.body == process("x")


def test_both_forms_of_zed_are_read():
    old, new, far, off = read(ZED)
    assert old.body == process("old-server", ["a"], {"A": "1"})
    assert new.body == process("new-server")
    assert far.body == remote("https://far.example/mcp")
    assert isinstance(off, LeftOut)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (7, "expected an object"),
        ({}, "neither a command nor a URL"),
        ({"command": "x", "args": "y"}, "`args` as a list"),
        ({"command": "x", "env": {"A": []}}, "`env` as an object"),
        ({"command": "x", "args": [f"--key={KEY}"]}, "an argument of it looks like a secret"),
        ({"command": "x", "env": {"A": "${env:NOT_SET}"}}, "the variable `NOT_SET`"),
        ({"command": "x", "args": ["--of=${input:it}"]}, "it asks for `it`"),
        ({"command": "x", "env": {"A_KEY": "one-1234", "A-KEY": "two-1234"}}, "two secrets"),
    ],
)
def test_what_cannot_be_carried_is_left_out_with_its_reason_and_without_its_secret(entry, problem):
    (left, beside) = read({"mcpServers": {"odd": entry, "plain": {"command": "y"}}})
    assert isinstance(left, LeftOut)
    assert problem in left.problem
    assert KEY not in left.problem
    assert isinstance(beside, Found)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"mcpServers": []}', b'{"a":1,"a":2}', b"{'a':1}"])
def test_a_file_that_is_no_list_of_servers_is_refused(data):
    with pytest.raises(CallerError):
        read_client_file(data, {})


def test_names_become_ids_that_are_taken_and_differ():
    names = ["My Server!", "my-server", "9lives", "x" * 40, "x" * 41, "é"]
    found = read({"mcpServers": {name: {"command": "x"} for name in names}})
    ids = [one.server_id for one in found]
    assert ids == ["my-server", "my-server-2", "s-9lives", "x" * 32, "x" * 30 + "-2", "s"]


@pytest.mark.parametrize(
    ("text", "is_secret"),
    [
        (KEY, True),
        ("postgres://user:pass@db/x", True),
        ("ghp_abcdefghij0123456789", True),
        ("Aa1Bb2Cc3Dd4Ee5Ff6Gg7Hh8", True),
        ("https://docs.example/mcp", False),
        ("/home/someone/a-directory/of/theirs", False),
        ("@modelcontextprotocol/server-filesystem", False),
        ("git+https://github.com/a/b@0123456789abcdef0123456789abcdef01234567", False),
        ("en_US.UTF-8", False),
    ],
)
def test_a_value_is_a_secret_by_its_looks(text, is_secret):
    assert looks_secret(text) is is_secret


def test_a_file_is_imported_secrets_first_and_what_is_taken_is_left(run, daemon, tmp_path):
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {**CURSOR["mcpServers"], **CLAUDE["mcpServers"]}}))
    daemon.answers["GET", "/v1/mcp/servers"] = {"servers": [summary("files")]}
    daemon.answers["GET", "/v1/secrets"] = {"secrets": []}
    for name in ("docs-authorization", "git-hub-github-token"):
        daemon.answers["PUT", f"/v1/secrets/{name}"] = {"name": name}
    for server_id in ("docs", "git-hub"):
        daemon.answers["POST", f"/v1/mcp/servers/{server_id}"] = summary(server_id)
    dry = run("mcp", "import", str(file), "--dry-run")
    assert (dry.code, "docs" in dry.out, KEY in dry.out + dry.err) == (0, True, False)
    assert daemon.bodies("POST", "/v1/mcp/servers/docs") == []

    ran = run("mcp", "import", str(file))
    assert ran.code == 0, ran.err
    assert daemon.bodies("PUT", "/v1/secrets/docs-authorization") == [{"value": KEY}]
    (body,) = daemon.bodies("POST", "/v1/mcp/servers/docs")
    assert body["header_secrets"] == {"Authorization": {"secret": "docs-authorization", "prefix": "Bearer "}}
    assert "left out `Files`: there is a server `files` already" in ran.err
    assert "left out `keyed`: the variable `DOCS_KEY`, which it names, is not set here" in ran.err
    assert KEY not in ran.out + ran.err


def test_a_file_of_which_nothing_is_taken_ends_with_an_error(run, daemon, tmp_path):
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"off": {"command": "x", "disabled": true}}}')
    daemon.answers["GET", "/v1/mcp/servers"] = {"servers": []}
    daemon.answers["GET", "/v1/secrets"] = {"secrets": []}
    ran = run("mcp", "import", str(file))
    assert (ran.code, "nothing was imported" in ran.err) == (2, True)
    assert run("mcp", "import", str(tmp_path / "no-file")).code == 2
