"""`approvals watch --notify`: each call once on the desktop, harmless, and a clear error where there is none."""

import pytest

from briefcase.core.wire.approvals import ApprovalRecord
from briefcase.edges.cli.desktop import PAUSE_MS, Desktop
from briefcase.model.errors import CallerError


def waiting(*numbers, tool="note_add"):
    return [
        ApprovalRecord(
            id=f"id-{number}", created_at="t", expires_at="t", principal="scout", tool_id=tool,
            reason="write tools wait", kind="local", summary="",
        )
        for number in numbers
    ]  # fmt: skip


@pytest.fixture
def shown(tmp_path):
    """A `notify-send` that writes what it was given into a file."""
    program, log = tmp_path / "notify-send", tmp_path / "shown"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {log}\necho >> {log}\n')
    program.chmod(0o755)
    desktop = Desktop({"DISPLAY": ":0", "PATH": str(tmp_path)})
    return desktop, lambda: log.read_text() if log.exists() else ""


def test_each_call_is_shown_once_and_a_burst_together(shown):
    desktop, log = shown
    desktop.tell(waiting(1), 0)
    desktop.tell(waiting(1), PAUSE_MS)
    assert log().count("briefcase: a call waits for you") == 1
    assert "scout: note_add" in log()
    desktop.tell(waiting(1, 2), PAUSE_MS - 1)
    assert log().count("briefcase:") == 1
    desktop.tell(waiting(*range(50)), PAUSE_MS)
    assert "briefcase: 49 calls wait for you" in log()
    assert "and 46 more" in log()


def test_what_a_stranger_named_is_no_option_and_no_markup(shown):
    desktop, log = shown
    desktop.tell(waiting(1, tool="<b>--icon=x</b>"), 0)
    assert log().startswith("--app-name=briefcase|--|briefcase: a call waits for you|")
    assert "<b>" not in log()


def test_a_program_that_fails_is_no_reason_to_stop(tmp_path):
    program = tmp_path / "notify-send"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    Desktop({"DISPLAY": ":0", "PATH": str(tmp_path)}).tell(waiting(1), 0)


@pytest.mark.parametrize(
    ("environ", "says"), [({}, "no desktop"), ({"DISPLAY": ":0", "PATH": "/nowhere"}, "notify-send")]
)
def test_where_there_is_none_the_error_says_so(environ, says):
    with pytest.raises(CallerError) as caught:
        Desktop(environ)
    assert says in caught.value.message
    assert caught.value.hint


def test_a_program_that_reads_is_told_by_no_desktop(run):
    ran = run("approvals", "watch", "--json", "--notify")
    assert (ran.code, "--json" in ran.err) == (2, True)
