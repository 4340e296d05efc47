"""The built-in tools, and a file sandbox that nothing on the disk gets out of."""

import base64
import json
import os
import socket
import threading
from pathlib import Path

import pytest

from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.tools.builtin import MAX_LISTED_CHARS, builtin_tools
from briefcase.adapters.tools.files import FileSandbox
from briefcase.model.errors import ConfigError, UpstreamError
from briefcase.model.ports import CallContext
from support.clock import FakeClock

CONTEXT = CallContext("call", "scout", "request", 0)
MAX_BYTES = 1_000
OWN = OwnFiles(Path("/no/data/directory"))


class Note:
    def __init__(self, note_id: int, text: str, created_us: int) -> None:
        self.id = note_id
        self.text = text
        self.created_us = created_us


class MemoryNotes:
    """A note store in a list."""

    def __init__(self) -> None:
        self.kept: list[Note] = []

    async def add(self, text: str, now_us: int) -> int:
        self.kept.append(Note(len(self.kept) + 1, text, now_us))
        return len(self.kept)

    async def list(self, limit: int) -> list[Note]:
        return self.kept[::-1][:limit]


def tools_over(notes=None, sandbox=None):
    made = builtin_tools(notes or MemoryNotes(), FakeClock(), sandbox or FileSandbox((), MAX_BYTES, OWN))
    return {tool.spec.id: tool for tool in made}


async def run(tool, **args):
    assert tool.check_args(args) is None
    return (await tool.execute(args, CONTEXT)).content


async def test_echo_gives_back_what_it_was_given():
    assert await run(tools_over()["echo"], text="hällo") == {"echo": "hällo"}


async def test_a_note_is_kept_and_listed_newest_first():
    tools = tools_over()

    assert await run(tools["note_add"], text="one") == {"id": 1}
    assert await run(tools["note_add"], text="two") == {"id": 2}
    listed = (await run(tools["notes_list"]))["notes"]
    assert [(note["id"], note["text"]) for note in listed] == [(2, "two"), (1, "one")]
    assert listed[0]["created_at"] == "2026-01-01T00:00:00.000000Z"


async def test_a_list_of_large_notes_fits_the_output_firewall():
    tools = tools_over()
    for _ in range(20):
        await run(tools["note_add"], text="\x01" * 16_000)

    listed = await run(tools["notes_list"])

    assert 0 < sum(len(note["text"]) for note in listed["notes"]) <= MAX_LISTED_CHARS
    assert len(json.dumps(listed)) <= tools["notes_list"].spec.output_firewall.max_bytes


@pytest.mark.parametrize(
    ("tool_id", "args"),
    [
        ("echo", {}),
        ("echo", {"text": 1}),
        ("echo", {"text": "a", "more": 1}),
        ("echo", {"text": "x" * 65_537}),
        ("note_add", {"text": ""}),
        ("notes_list", {"limit": 5}),
        ("file_read", {"path": ""}),
        ("file_read", {"path": ["/etc/passwd"]}),
    ],
)
def test_arguments_that_are_not_as_declared_are_refused(tool_id, args):
    assert tools_over()[tool_id].check_args(args)


def test_each_definition_says_what_it_may_do():
    specs = {tool_id: tool.spec for tool_id, tool in tools_over().items()}

    assert {tool_id for tool_id, spec in specs.items() if spec.is_write} == {"note_add"}
    assert {tool_id for tool_id, spec in specs.items() if spec.fs_access} == {"file_read"}
    assert not any(spec.net_access for spec in specs.values())
    assert len({spec.digest_hex for spec in specs.values()}) == len(specs)


# --- the file sandbox -------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A permitted directory beside a secret, with every kind of way out of it."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (tmp_path / "in-evil").mkdir()
    (tmp_path / "in-evil" / "secret").write_text("secret")
    (inside / "file").write_text("text")
    (inside / "sub" / "file").write_text("below")
    (inside / "link").symlink_to(outside / "secret")
    (inside / "link-inside").symlink_to(inside / "file")
    (inside / "directory-link").symlink_to(outside)
    (inside / "loop").symlink_to(inside / "loop")
    os.mkfifo(inside / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(inside)  # a socket's path must be short, and pytest's directories are not
    listener.bind("socket")
    yield inside
    listener.close()


def read(disk, path: str) -> bytes:
    return FileSandbox([str(disk)], MAX_BYTES, OWN).read(path)


@pytest.mark.parametrize(("path", "data"), [("file", b"text"), ("sub/file", b"below")])
def test_a_file_below_a_prefix_is_read(disk, path, data):
    assert read(disk, f"{disk}/{path}") == data


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("{disk}/../out/secret", "dot_segment"),
        ("{disk}/sub/../file", "dot_segment"),
        ("{disk}/./file", "dot_segment"),
        ("{disk}//file", "dot_segment"),
        ("{disk}/sub/", "dot_segment"),
        ("{disk}-evil/secret", "outside_prefixes"),
        ("{disk}", "outside_prefixes"),
        ("/etc/passwd", "outside_prefixes"),
        ("/proc/self/environ", "outside_prefixes"),
        ("file", "not_absolute"),
        ("~/file", "not_absolute"),
        ("{disk}/file\0.txt", "not_absolute"),
        ("{disk}/link", "symlink"),
        ("{disk}/link-inside", "symlink"),
        ("{disk}/directory-link/secret", "symlink"),
        ("{disk}/loop", "symlink"),
        ("{disk}/loop/file", "symlink"),
        ("{disk}/sub", "not_a_file"),
        ("{disk}/fifo", "not_a_file"),
        ("{disk}/socket", "not_a_file"),
    ],
)
def test_every_way_out_of_the_sandbox_is_named_and_refused(disk, path, what):
    with pytest.raises(UpstreamError) as refused:
        read(disk, path.format(disk=disk))

    assert (refused.value.code, refused.value.message, refused.value.sent) == ("sandbox_violation", what, False)


def test_a_device_is_refused_without_being_opened(tmp_path, monkeypatch):
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *args, **named: opened.append(path) or real(path, *args, **named))

    with pytest.raises(UpstreamError) as refused:
        FileSandbox(["/dev"], MAX_BYTES, OWN).read("/dev/null")

    assert refused.value.message == "not_a_file"
    assert "null" not in opened


@pytest.mark.parametrize("path", ["{disk}/missing", "{disk}/missing/file", "{disk}/file/below"])
def test_a_file_that_is_not_there_is_no_violation(disk, path):
    with pytest.raises(UpstreamError) as refused:
        read(disk, path.format(disk=disk))

    assert (refused.value.code, refused.value.message) == ("upstream_refused", "there is no such file")


@pytest.mark.parametrize(("size", "passes"), [(MAX_BYTES, True), (MAX_BYTES + 1, False)])
def test_the_size_of_a_file_is_bound_to_the_byte(disk, size, passes):
    (disk / "large").write_bytes(b"x" * size)

    if passes:
        assert len(read(disk, f"{disk}/large")) == size
    else:
        with pytest.raises(UpstreamError, match="too large"):
            read(disk, f"{disk}/large")


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_file_that_is_swapped_after_it_was_looked_at_is_not_read(disk, tmp_path, monkeypatch, kind):
    """The race that checking a path and then opening it would lose: here it is lost every time."""
    real = os.stat

    def stat_and_swap(name, *args, **named):
        info = real(name, *args, **named)
        if name == "file":
            (disk / "file").unlink()
            if kind == "link":
                (disk / "file").symlink_to(tmp_path / "out" / "secret")
            else:
                os.mkfifo(disk / "file")
        return info

    monkeypatch.setattr("briefcase.adapters.tools.files.os.stat", stat_and_swap)

    with pytest.raises(UpstreamError) as refused:
        read(disk, f"{disk}/file")

    assert refused.value.message == {"link": "symlink", "fifo": "not_a_file"}[kind]


def test_a_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere(disk, tmp_path):
    swapped, kept, link = disk / "swapped", tmp_path / "kept", tmp_path / "link"
    swapped.mkdir()
    (swapped / "secret").write_text("harmless")
    link.symlink_to(tmp_path / "out")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            swapped.rename(kept)
            link.rename(swapped)
            swapped.rename(link)
            kept.rename(swapped)

    racer = threading.Thread(target=swap)
    racer.start()
    seen = set()
    try:
        for _ in range(2_000):
            try:
                seen.add(read(disk, f"{swapped}/secret"))
            except UpstreamError as error:
                seen.add(error.message)
    finally:
        stop.set()
        racer.join()

    assert seen <= {b"harmless", "symlink", "there is no such file"}


def test_nothing_is_left_open_by_what_is_refused(disk):
    def open_descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    before = open_descriptors()

    read(disk, f"{disk}/file")
    for path in ("link", "sub/missing", "fifo", "sub", "directory-link/secret"):
        with pytest.raises(UpstreamError):
            read(disk, f"{disk}/{path}")

    assert open_descriptors() == before


@pytest.mark.parametrize("prefix", ["relative", "/no/such/directory", "/etc/passwd", ""])
def test_a_prefix_that_is_no_directory_stops_the_daemon_by_name(prefix):
    with pytest.raises(ConfigError) as refused:
        FileSandbox([prefix], MAX_BYTES, OWN)
    assert f"got `{prefix}`" in refused.value.message


def test_without_prefixes_nothing_is_read(disk):
    with pytest.raises(UpstreamError, match="outside_prefixes"):
        FileSandbox([], MAX_BYTES, OWN).read(f"{disk}/file")


async def test_file_read_gives_text_or_base64(disk):
    (disk / "binary").write_bytes(b"\xff\x00")
    file_read = tools_over(sandbox=FileSandbox([str(disk)], MAX_BYTES, OWN))["file_read"]

    assert await run(file_read, path=f"{disk}/file") == {"text": "text"}
    assert await run(file_read, path=f"{disk}/binary") == {"base64": base64.b64encode(b"\xff\x00").decode()}
