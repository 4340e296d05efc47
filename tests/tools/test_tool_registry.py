"""The registry and its loading: whole groups, one id each, and what was in force stays when a file is bad."""

import json
import os

import pytest
from test_tool_builtin import MemoryNotes

from briefcase.adapters.disk.own_files import OwnFiles
from briefcase.adapters.tools.load import ToolBox
from briefcase.adapters.tools.registry import Registry
from briefcase.model.errors import CallerError, ConfigError
from support.clock import FakeClock
from support.redaction import FakeRedactor, NoRedaction
from support.tools import FakeTool, spec

PUBLIC: list[str] = []
BUILTIN = ["echo", "file_read", "note_add", "notes_list"]


def ids(registry) -> list[str]:
    """The ids that are the daemon's own or a manifest's; those of coding agents' tools stay as they are."""
    return [known.id for known in registry.specs() if not known.source.startswith("hook:")]


def manifest(*tool_ids: str) -> str:
    tools = [
        {"id": tool_id, "method": "GET", "url": "https://desk.example/", "category": "read"} for tool_id in tool_ids
    ]
    return json.dumps({"tools": tools})


def write(directory, name: str, text: str, mode: int = 0o600) -> None:
    (directory / name).write_text(text)
    (directory / name).chmod(mode)


def box(directory, redactor=None) -> ToolBox:
    return ToolBox(
        manifest_dir=directory,
        notes=MemoryNotes(),
        file_prefixes=(),
        max_file_bytes=1_000,
        own=OwnFiles(directory),
        outbound=None,
        secrets=None,
        redactor=redactor or NoRedaction(),
        clock=FakeClock(),
        keep_public=PUBLIC.append,
    )


async def reload(running: ToolBox) -> list[str]:
    read = await running.read()
    read.put()
    return sorted(read.digests)


def test_definitions_are_listed_by_id_and_resolved_by_it():
    registry = Registry()
    registry.replace("one", [FakeTool(spec("b")), FakeTool(spec("c"))])
    registry.replace("two", [FakeTool(spec("a"))])

    assert ids(registry) == ["a", "b", "c"]
    assert registry.resolve("b").spec.id == "b"
    assert registry.resolve("d") is None
    assert registry.resolve("B") is None


def test_a_group_is_replaced_whole():
    registry = Registry()
    registry.replace("one", [FakeTool(spec("a")), FakeTool(spec("b"))])
    registry.replace("one", [FakeTool(spec("c"))])
    assert ids(registry) == ["c"]

    registry.replace("one", [])
    assert ids(registry) == []


@pytest.mark.parametrize("taken", [["echo", "echo"], ["a", "x"]])
def test_an_id_that_is_taken_refuses_the_group_and_changes_nothing(taken):
    registry = Registry()
    registry.replace("one", [FakeTool(spec("a"))])
    registry.replace("two", [FakeTool(spec("b"))])
    before = [registry.resolve(tool_id) for tool_id in ("a", "b")]

    with pytest.raises(CallerError) as refused:
        registry.replace("two", [FakeTool(spec(tool_id)) for tool_id in taken])

    assert refused.value.code == "invalid_manifest"
    assert f"`{taken[0]}`" in refused.value.message
    assert [registry.resolve(tool_id) for tool_id in ("a", "b")] == before
    assert ids(registry) == ["a", "b"]


def test_every_manifest_of_the_directory_is_loaded_beside_the_built_in_tools(tmp_path):
    write(tmp_path, "one.json", manifest("a", "b"))
    write(
        tmp_path, "two.toml", '[[tools]]\nid = "c"\nmethod = "GET"\nurl = "https://desk.example"\ncategory = "read"\n'
    )
    write(tmp_path, "README.md", "not a manifest")
    write(tmp_path, ".hidden.json", "not a manifest")
    (tmp_path / "below").mkdir()

    assert ids(box(tmp_path).registry) == sorted([*BUILTIN, "a", "b", "c"])


def test_without_a_directory_there_are_the_built_in_tools(tmp_path):
    assert ids(box(tmp_path / "missing").registry) == BUILTIN


def bad_syntax(directory):
    write(directory, "bad.json", "{")


def bad_content(directory):
    write(directory, "bad.json", manifest("x").replace("GET", "TRACE"))


def taken_id(directory):
    write(directory, "bad.json", manifest("echo"))


def twice(directory):
    write(directory, "bad.json", manifest("a"))


def writable_by_others(directory):
    write(directory, "bad.json", manifest("x"), mode=0o622)


def writable_by_the_group(directory):
    write(directory, "bad.json", manifest("x"), mode=0o660)


def symbolic_link(directory):
    target = directory.parent / "elsewhere.json"
    target.write_text(manifest("x"))
    (directory / "bad.json").symlink_to(target)


def dangling_link(directory):
    (directory / "bad.json").symlink_to(directory / "nowhere")


def a_directory(directory):
    (directory / "bad.json").mkdir()


def a_fifo(directory):
    os.mkfifo(directory / "bad.json", 0o600)


MISTAKES = [bad_syntax, bad_content, taken_id, twice, writable_by_others, writable_by_the_group, symbolic_link,
            dangling_link, a_directory, a_fifo]  # fmt: skip


@pytest.mark.parametrize("make", MISTAKES)
async def test_a_bad_manifest_stops_the_start_and_leaves_a_reload_without_effect(tmp_path, make):
    directory = tmp_path / "tools"
    directory.mkdir()
    write(directory, "a.json", manifest("a"))
    running = box(directory)
    kept = running.registry.resolve("a")
    write(directory, "b.json", manifest("b"))

    make(directory)

    with pytest.raises((CallerError, ConfigError)) as refused:
        await reload(running)
    assert running.registry.resolve("a") is kept
    assert ids(running.registry) == sorted([*BUILTIN, "a"])
    with pytest.raises((CallerError, ConfigError)):
        box(directory)
    if make not in {taken_id, twice}:
        assert "bad.json" in refused.value.message


def test_what_is_wrong_with_a_manifest_that_holds_a_secret_repeats_no_part_of_it(tmp_path):
    secret = "k7Qm2Zx9" * 8
    write(tmp_path, "bad.json", f'{{"{secret}": 1, "{secret}": 2}}')
    with pytest.raises(CallerError) as refused:
        box(tmp_path, FakeRedactor(secret.encode()))
    assert refused.value.message == "`bad.json`: invalid value (not shown: it contains a secret)"
    with pytest.raises(CallerError, match=secret[:8]):
        box(tmp_path)


async def test_a_reload_takes_what_was_added_changed_and_removed(tmp_path):
    write(tmp_path, "a.json", manifest("a"))
    write(tmp_path, "b.json", manifest("b"))
    running = box(tmp_path)
    before = running.registry.resolve("b").spec.digest_hex

    (tmp_path / "a.json").unlink()
    write(tmp_path, "b.json", manifest("b").replace("desk.example", "other.example"))
    write(tmp_path, "c.json", manifest("c"))

    read = await running.read()
    assert "c" not in ids(running.registry)  # nothing is in force until it is put there
    read.put()
    assert ids(running.registry) == sorted([*BUILTIN, "b", "c"])
    assert running.registry.resolve("b").spec.digest_hex != before
    assert (
        running.digests()
        == read.digests
        == {tool_id: running.registry.resolve(tool_id).spec.digest_hex for tool_id in ("b", "c")}
    )
    assert set(read.digests.values()) <= set(PUBLIC)


async def test_of_two_reloads_at_once_the_later_reading_is_in_force(tmp_path):
    running = box(tmp_path)
    write(tmp_path, "a.json", manifest("a"))
    first = await running.read()
    write(tmp_path, "b.json", manifest("b"))
    assert await reload(running) == ["a", "b"]
    with pytest.raises(CallerError) as refused:
        first.put()
    assert refused.value.code == "conflict"
    assert ids(running.registry) == sorted([*BUILTIN, "a", "b"])
