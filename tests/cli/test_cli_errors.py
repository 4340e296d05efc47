"""Every way a command can fail: its exit code, one line on standard error, what to do next, and JSON for programs."""

import io
from functools import partial

import pytest

from briefcase.core.wire.tools import ToolRecord
from briefcase.model.errors import CODES, ConfigError
from support.cli import FakeRoot, run
from support.wire import example


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_daemon_leaves_with_its_own_exit_code(run, daemon, code):
    daemon.answers["GET", "/v1/tools"] = (
        CODES[code].http_status,
        {"code": code, "message": "what happened", "request_id": "r-1", "hint": "what to do"},
    )
    ran = run("tools", "list")
    assert (ran.code, ran.out) == (CODES[code].exit_code, "")
    assert ran.err == "error: what happened\nhint: what to do\n"
    as_json = run("tools", "list", "--json")
    assert as_json.code == ran.code
    assert as_json.error == {"code": code, "message": "what happened", "hint": "what to do", "request_id": "r-1"}


@pytest.mark.parametrize(
    ("status", "exit_code"), [(400, 2), (401, 6), (403, 6), (404, 4), (409, 3), (418, 2), (500, 1), (503, 5)]
)
def test_a_code_this_version_does_not_know_counts_as_its_status(run, daemon, status, exit_code):
    daemon.answers["GET", "/v1/tools"] = (status, {"code": "from_the_future", "message": "odd"})
    ran = run("tools", "list")
    assert (ran.code, ran.err) == (exit_code, "error: odd (`from_the_future`)\n")


def test_what_the_daemon_says_reaches_the_terminal_without_control_characters(run, daemon):
    daemon.answers["GET", "/v1/tools"] = (400, {"code": "bad_request", "message": "a\x1b]0;pwned\x07b\nhint: c\u202ed"})
    assert run("tools", "list").err == "error: a<U+001B>]0;pwned<U+0007>b\n  hint: c<U+202E>d\n"

    error = {"code": "bad_request", "message": "a\x1b[2Jb", "hint": "c\x1b[2Jd"}
    daemon.answers["GET", "/health"] = {"status": "ok"}
    daemon.answers["GET", "/v1/controls"] = (400, error)
    shown = run("diagnostics", "check").out
    assert ("a<U+001B>[2Jb" in shown, "c<U+001B>[2Jd" in shown, "\x1b" in shown) == (True, True, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tolls"], "unknown command `tolls`: did you mean `tools`?"),
        (["tools", "lst"], "unknown command `lst`: did you mean `list`?"),
        (["receipts", "show", "x"], "Invalid value for 'ID'"),
        (["receipts", "show", "0"], "Invalid value for 'ID'"),
        (["receipts", "list", "--limit", "0"], "Invalid value for '--limit'"),
        (["budgets", "set", "read"], "Missing option '--daily-limit-usd'"),
        (["completion", "tcsh"], "Invalid value for"),
        (["tools", "call"], "Missing argument 'TOOL'"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_help_to_read(run, arguments, message):
    ran = run(*arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "--help`" in ran.err
    as_json = run(*arguments, "--json")
    assert (as_json.code, as_json.error["code"]) == (2, "usage")


def test_a_group_alone_shows_its_help(run):
    ran = run("tools")
    assert ran.code == 2
    assert "Commands:" in ran.err


def test_a_daemon_that_can_not_start_says_why(tmp_path):
    root = FakeRoot(tmp_path)
    root.serve_error = ConfigError("another daemon runs", code="already_running", hint="stop it first")
    for command in (["up"], ["up", "--once"]):
        ran = run(root, *command)
        assert (ran.code, ran.err) == (9, "error: another daemon runs\nhint: stop it first\n")
    ran = run(root, "daemon")  # where no person reads it, it is a line of the log
    said = {"event": "failed", "code": "already_running", "message": "another daemon runs", "hint": "stop it first"}
    assert (ran.code, said.items() <= ran.error.items(), ran.error["level"]) == (9, True, "error")


def test_a_bug_is_one_line_and_a_traceback_only_when_asked_for(tmp_path):
    root = FakeRoot(tmp_path)
    root.serve_error = KeyError("boom")
    ran = run(root, "up")
    assert ran.code == 1
    assert ran.err.startswith("error: the command failed inside: `KeyError`\nhint: ")
    assert "Traceback" not in ran.err
    assert "Traceback" in run(root, "--debug", "up").err


def test_debug_shows_where_an_expected_error_came_from_too(tmp_path):
    assert "Traceback" in run(FakeRoot(tmp_path), "--debug", "tools", "list").err


def test_an_interrupt_is_130(tmp_path):
    root = FakeRoot(tmp_path)
    root.serve_error = KeyboardInterrupt()
    assert run(root, "daemon").code == 130


def test_a_reader_that_leaves_is_no_error(run, daemon, monkeypatch):
    daemon.answers["GET", "/v1/tools"] = {"tools": []}

    def leaves(_):
        raise BrokenPipeError

    monkeypatch.setattr("briefcase.edges.cli.json_output.write_json", leaves)
    monkeypatch.setattr("briefcase.edges.cli.main._discard_output", lambda: None)
    ran = run("tools", "list", "--json")
    assert (ran.code, ran.err) == (141, "")


def test_colours_stay_out_of_pipes_and_files(run, daemon):
    daemon.answers["GET", "/v1/tools"] = (400, {"code": "bad_request", "message": "x", "hint": "y"})
    assert "\x1b" not in run("tools", "list").err


def test_standard_streams_that_know_only_ascii_do_not_fail(daemon, monkeypatch):
    tool = example(ToolRecord, name="é", description="日本")
    daemon.answers["GET", "/v1/tools"] = {"tools": [tool]}
    monkeypatch.setattr("support.cli.io.TextIOWrapper", partial(io.TextIOWrapper, encoding="ascii"))
    ran = run(FakeRoot(daemon.data_dir), "tools", "list")
    assert ran.code == 0
    assert "\\u65e5\\u672c" in ran.out


class AnyAnswer(dict):
    """Whatever is asked for, the daemon answers this."""

    def __init__(self, answer: dict) -> None:
        super().__init__()
        self.answer = answer

    def get(self, *_):
        return self.answer


@pytest.mark.parametrize(
    ("arguments", "answer", "endpoint"),
    [
        (["tools", "list"], {}, "GET /v1/tools"),
        (["approvals", "list"], {"approvals": [{"id": "x"}]}, "GET /v1/approvals"),
        (["approvals", "show", "3" * 36], {"id": "x"}, f"GET /v1/approvals/{'3' * 36}"),
        (["receipts", "list"], {"receipts": [{}]}, "GET /v1/receipts"),
        (["budgets", "list"], {}, "GET /v1/budgets"),
        (["agents", "list"], {"agents": [{}]}, "GET /v1/agents"),
        (["secrets", "list"], {}, "GET /v1/secrets"),
        (["policy", "show"], {}, "GET /v1/policy"),
        (["providers", "list"], {"providers": [{}]}, "GET /v1/providers"),
        (["mcp", "servers", "list"], {}, "GET /v1/mcp/servers"),
    ],
)
def test_an_answer_without_a_field_that_is_promised_is_the_answers_fault_and_says_which(
    run, daemon, arguments, answer, endpoint
):
    daemon.answers = AnyAnswer(answer)
    ran = run(*arguments)
    assert ran.code == CODES["unexpected_answer"].exit_code, ran.err
    assert ran.err.startswith(f"error: answer of `{endpoint}`: expected the field `"), ran.err
    assert "does the daemon run the version that this program is of?" in ran.err
