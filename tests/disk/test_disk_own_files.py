"""The daemon's own files are known by device and inode, whatever leads to them."""

import os
import subprocess

import pytest

from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.tools.files import FileSandbox
from briefcase.edges.cli.app import App
from briefcase.model.errors import CallerError, ConfigError, UpstreamError

MAX_BYTES = 1_000


@pytest.fixture
def home(tmp_path):
    """A home directory with a data directory deep inside."""
    home = tmp_path / "home"
    data = home / ".local" / "share" / "briefcase"
    (data / "ledger").mkdir(parents=True)
    (data / "auth_token").write_text("the operator's token")
    (data / "ledger" / "data.mdb").write_text("pages")
    (home / "notes.txt").write_text("hello")
    return home


def own_of(home) -> OwnFiles:
    return OwnFiles(home / ".local" / "share" / "briefcase")


def read(home, prefix, path) -> bytes:
    return FileSandbox([str(prefix)], MAX_BYTES, own_of(home)).read(str(path))


def refusal(home, prefix, path) -> str:
    with pytest.raises(UpstreamError) as refused:
        read(home, prefix, path)
    assert refused.value.code == "sandbox_violation"
    return refused.value.message


@pytest.mark.parametrize("name", ["auth_token", "ledger/data.mdb"])
def test_a_prefix_above_the_data_directory_does_not_open_it(home, name):
    assert refusal(home, home, home / ".local/share/briefcase" / name) == "own_file"
    assert read(home, home, home / "notes.txt") == b"hello"


def test_a_hard_link_to_one_of_the_daemons_files_is_that_file(home):
    (home / "innocent").hardlink_to(home / ".local/share/briefcase/auth_token")

    assert refusal(home, home, home / "innocent") == "own_file"


def test_a_prefix_whose_parent_was_swapped_for_the_data_directory_opens_nothing(home):
    shared = home / "shared"
    (shared / "ledger").mkdir(parents=True)
    sandbox = FileSandbox([str(shared / "ledger")], MAX_BYTES, own_of(home))
    shared.rename(home / "moved")
    shared.symlink_to(home / ".local/share/briefcase")

    with pytest.raises(UpstreamError, match="own_file"):
        sandbox.read(str(shared / "ledger" / "data.mdb"))


@pytest.mark.parametrize("prefix", [".local/share/briefcase", ".local/share/briefcase/ledger", "link"])
def test_a_prefix_inside_the_data_directory_stops_the_daemon(home, prefix):
    (home / "link").symlink_to(home / ".local/share/briefcase")

    with pytest.raises(ConfigError, match="outside of"):
        FileSandbox([str(home / prefix)], MAX_BYTES, own_of(home))


def test_a_prefix_above_procfs_does_not_show_the_daemons_environment(home):
    assert refusal(home, "/", f"/proc/{os.getpid()}/environ") == "own_file"


def test_a_data_directory_that_can_not_be_listed_counts_as_holding_everything(home, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "permission denied")

    sandbox = FileSandbox([str(home)], MAX_BYTES, own_of(home))
    monkeypatch.setattr(os, "scandir", refuse)

    with pytest.raises(UpstreamError, match="own_file"):
        sandbox.read(str(home / "notes.txt"))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize(
    ("source", "target", "path"),
    [("briefcase", "elsewhere", "auth_token"), ("briefcase/ledger", "elsewhere", "data.mdb")],
)
def test_a_bind_mount_of_the_data_directory_is_the_data_directory(home, source, target, path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from briefcase.adapters.disk.own_files import OwnFiles\n"
        "own = OwnFiles(Path(sys.argv[1]))\n"
        "print(own.holds(open(sys.argv[2]).fileno()), own.holds_directory(Path(sys.argv[2]).parent))\n"
    )
    (home / target).mkdir()
    mount = f'mount --bind "{home}/.local/share/{source}" "{home}/{target}" && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", os.sys.executable, "-c", program]
    arguments = [str(home / ".local/share/briefcase"), str(home / target / path)]

    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=True)

    assert done.stdout == "True True\n"


def test_a_command_writes_no_new_file_into_the_data_directory(home):
    data = home / ".local" / "share" / "briefcase"
    app = App(None, {"BRIEFCASE_DATA_DIR": str(data)})
    (home / "link").symlink_to(data)

    app.check_outside(home / "export.jsonl")
    app.check_outside(home / "not/yet/there.jsonl")
    for place in (data / "export.jsonl", data / "ledger" / "x", home / "link" / "x"):
        with pytest.raises(CallerError, match="data directory"):
            app.check_outside(place)
