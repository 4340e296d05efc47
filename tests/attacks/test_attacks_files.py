"""H23: `file_read` with a prefix above the data directory must not give an agent the operator's token."""

import json

import pytest

from support.daemons import RunningDaemon


@pytest.mark.parametrize("name", ["auth_token", "auditor_token", "ledger/data.mdb", "briefcase.sqlite", "vault.key"])
def test_no_file_of_the_data_directory_is_read_for_an_agent(tmp_path, name):
    home = tmp_path / "home"
    data = home / ".local" / "share" / "briefcase"
    data.mkdir(parents=True, mode=0o700)
    data.chmod(0o700)
    (data / "briefcase.toml").write_text(f"[file_read]\nprefixes = [{json.dumps(str(home))}]\n")
    (data / "briefcase.toml").chmod(0o600)
    (home / "notes.txt").write_text("hello")
    with RunningDaemon(data) as daemon:
        agent = daemon.request("POST", "/v1/agents", {"name": "scout"})[1]["token"]
        watched = name.startswith(("ledger/", "briefcase.sqlite"))  # a second name of these stops the daemon by itself
        paths = [data / name] if watched else [data / name, home / "link"]
        if not watched:
            (home / "link").hardlink_to(data / name)

        read = daemon.call("file_read", {"path": str(home / "notes.txt")}, token=agent)
        refused = [daemon.call("file_read", {"path": str(path)}, token=agent) for path in paths]

    assert read["status"] == "ok", read
    assert "hello" in json.dumps(read)
    for answer in refused:
        assert (answer["status"], answer.get("result")) == ("error", None), answer
        assert "own_file" in json.dumps(answer)
