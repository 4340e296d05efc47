"""A shell's command as policy reads it: real shells read the same words, and what is not plain has none."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briefcase.adapters.tools.hooked import hooked_tools
from briefcase.core.policy.engine import compile_policy
from briefcase.core.shell import MAX_COMMAND_CHARS, NOT_PLAIN, read_command
from briefcase.model.types import Allow, NeedsApproval, RiskSignals
from support.principals import AGENT

SHELLS = [name for name in ("bash", "dash", "zsh", "ksh") if shutil.which(name)]

PLAIN = {
    "ls": ("ls",),
    "  git   status  ": ("git", "status"),
    "git status --porcelain=v2": ("git", "status", "--porcelain=v2"),
    "git log --format=%H -n 3": ("git", "log", "--format=%H", "-n", "3"),
    "git commit -m 'it; is $(fine) && `quoted`'": ("git", "commit", "-m", "it; is $(fine) && `quoted`"),
    'echo "a b" c': ("echo", "a b", "c"),
    "echo 'a'\"b\"c": ("echo", "abc"),
    "echo ''": ("echo", ""),
    "grep -n 'TODO' src/a.py": ("grep", "-n", "TODO", "src/a.py"),
    "/usr/bin/ls": ("/usr/bin/ls",),
    "echo 'Grüße'": ("echo", "Grüße"),
    "'ls'": ("ls",),
}

ATTACKS = {
    "a second command": "git status; rm -rf /",
    "a second command without a blank": "git status;rm",
    "and": "ls && rm -rf /",
    "or": "ls || rm -rf /",
    "a pipe": "ls | sh",
    "the background": "ls & rm -rf /",
    "a background at the end": "ls &",
    "a substitution": "ls $(rm -rf /)",
    "a substitution in quotes": 'ls "$(rm -rf /)"',
    "backticks": "ls `rm -rf /`",
    "backticks in quotes": 'ls "`rm -rf /`"',
    "a process substitution": "ls <(rm -rf /)",
    "arithmetic": "ls $((1))",
    "a variable": "ls $HOME",
    "a variable in quotes": 'ls "$HOME"',
    "a variable as the program": "$SHELL -c rm",
    "the field separator": "ls$IFS-la",
    "a newline": "ls\nrm -rf /",
    "a newline in quotes": "echo 'a\nb'",
    "a carriage return": "ls\rrm",
    "a tab": "ls\t-la",
    "a form feed": "ls\x0crm",
    "a NUL": "ls\x00rm",
    "an escape": "l\\s",
    "an escaped newline": "ls \\\n rm",
    "an escaped blank": "ls a\\ b",
    "an escape in quotes": 'ls "a\\"b"',
    "an escaped escape in quotes": 'ls "a\\\\b"',
    "a backslash in single quotes, an escape to fish": "ls '\\' '; rm x #'",
    "ANSI quoting": "ls $'\\x41'",
    "locale quoting": 'ls $"x"',
    "a redirection": "ls > /etc/passwd",
    "a redirection without blanks": "ls>x",
    "a redirection of a number": "ls 2>x",
    "an input": "sh < x",
    "a here-document": "sh <<EOF",
    "a here-string": "sh <<<x",
    "a comment": "ls # x",
    "a glob": "ls *",
    "a question mark": "ls ?",
    "a class": "ls [a]",
    "a brace": "ls {a,b}",
    "an extended glob": "ls @(a)",
    "a tilde": "ls ~root",
    "a tilde after an assignment's sign": "ls --x=~root",
    "zsh's lookup of a program": "ls =sh",
    "the same behind empty quotes": "ls ''=sh",
    "history": "!!",
    "history in quotes": 'ls "!!"',
    "a negation": "! ls",
    "a group": "{ ls; }",
    "a subshell": "(ls)",
    "a function": "ls() { rm; }",
    "a function by its word": "function ls",
    "a condition": "if ls",
    "a loop": "while ls",
    "a timing": "time ls",
    "a coprocess": "coproc ls",
    "zsh's precommand": "noglob ls",
    "zsh's dash": "- ls",
    "a job": "%1",
    "an assignment before": "A=b ls",
    "an assignment alone": "PATH=/tmp",
    "an assignment of an array's member": "A[0]=b ls",
    "an appended assignment": "A+=b ls",
    "an assignment in quotes": "'A=b' ls",
    "an empty program": "'' ls",
    "an open quote": "ls 'a",
    "an open double quote": 'ls "a',
    "a no-break blank": "ls\u00a0-la",
    "an ideographic blank": "ls\u3000-la",
    "a zero-width blank": "l\u200bs",
    "a homoglyph": "l\u0455",
    "full width": "\uff4c\uff53",
    "full-width semicolon": "ls\uff1b rm",
    "right to left": "ls \u202e fr- mr",
    "a soft hyphen in quotes": "ls 'a\u00adb'",
    "an unpaired surrogate": "ls '\ud800'",
    "nothing": "",
    "blanks": "   ",
    "too long": "ls " + "a" * MAX_COMMAND_CHARS,
}


@pytest.mark.parametrize("command", PLAIN)
def test_a_plain_command_has_its_words(command):
    read = read_command(command)
    assert (read.simple, read.program, read.words) == (True, PLAIN[command][0], PLAIN[command])
    assert read.subcommand == (*PLAIN[command], "")[1]


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_not_plain_has_no_words(name):
    assert read_command(ATTACKS[name]) == NOT_PLAIN


@pytest.mark.parametrize("command", [None, 7, ["bash", "-lc", "ls"], {"command": "ls"}])
def test_what_is_no_text_has_no_words(command):
    assert read_command(command) == NOT_PLAIN


@pytest.mark.parametrize(
    ("command", "program"),
    [("sudo ls", "sudo"), ("sh -c 'rm -rf /'", "sh"), ("env ls", "env"), ("xargs rm", "xargs"), ("eval 'a'", "eval"),
     ("command ls", "command"), ("exec ls", "exec"), ("/tmp/ls", "/tmp/ls"), ("./ls", "./ls"), (". x", "."),
     ("LS", "LS")],
)  # fmt: skip
def test_what_runs_another_program_is_itself_the_program(command, program):
    assert read_command(command).program == program


def words_of(shell: str, command: str) -> tuple[str, ...] | None:
    """What a real shell reads as the words of a command; None where it does not take it."""
    code = f"printf '%s\\0' {command}"
    try:
        found = subprocess.run([shell, "-c", code], capture_output=True, check=False, timeout=30, cwd="/", env={})
    except ValueError:  # a NUL, or what cannot be encoded
        return None
    if found.returncode or found.stderr:
        return None
    return tuple(word.decode("utf-8", "surrogateescape") for word in found.stdout.split(b"\0")[:-1])


_TEXT = st.text(st.sampled_from("ab -=./%,:@+_'\"$`\\;&|<>(){}[]*?~#!^\n\té\u00a0\u200b"), max_size=24)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=150, deadline=None)
@given(command=st.one_of(_TEXT, st.lists(_TEXT, min_size=1, max_size=4).map(shlex.join)))
def test_real_shells_read_the_same_words(shell, command):
    read = read_command(f"ls {command}")
    if read.simple:
        assert words_of(shell, f"ls {command}") == read.words


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12), min_size=1, max_size=6))
def test_printable_words_that_are_quoted_are_plain_but_for_a_backslash(words):
    quoted = [f"'{word}'" if "'" not in word else shlex.quote(word) for word in words]
    read = read_command(" ".join(["ls", *quoted]))
    assert read.words == (() if "\\" in "".join(words) else ("ls", *words))


# --- in a policy ------------------------------------------------------------------------------------------------------

POLICY = """
permit (principal, action, resource) when { action != Action::"CallWithoutApproval" };
permit (principal, action == Action::"CallWithoutApproval", resource == Tool::"claude-code.Bash")
when { context.shell.program == "ls" || (context.shell.program == "git" && context.shell.subcommand == "status") };
"""


def decided(command, policy=POLICY, tool="claude-code.Bash"):
    spec = next(one.spec for one in hooked_tools() if one.spec.id == tool)
    args = {"command": command} if tool.endswith("Bash") else {"file_path": "ls"}
    return compile_policy(policy).decide(AGENT, spec, args, RiskSignals(), 0)


@pytest.mark.parametrize("command", ["ls", "ls -la /tmp", "git status", "git status --short", "'git' \"status\""])
def test_a_policy_lets_two_commands_run(command):
    assert isinstance(decided(command), Allow)


@pytest.mark.parametrize(
    "command",
    [
        *ATTACKS.values(),
        "git push",
        "git -c core.pager=rm status",
        "sudo ls",
        "env ls",
        "sh -c ls",
        "/tmp/ls",
        "lsof",
        "git",
    ],
)
def test_and_nothing_else(command):
    assert isinstance(decided(command), NeedsApproval)


def test_a_tool_without_a_command_has_none():
    policy = POLICY.replace('resource == Tool::"claude-code.Bash"', "resource")
    assert isinstance(decided("", policy, "claude-code.Read"), NeedsApproval)


def test_a_policy_can_refuse_what_is_not_plain_and_words_that_stand_anywhere():
    policy = """
    permit (principal, action, resource);
    @id("plain") forbid (principal, action == Action::"Call", resource) unless { context.shell.simple };
    @id("force") forbid (principal, action == Action::"Call", resource)
    when { context.shell.words.contains("--force") };
    """
    assert isinstance(decided("git push origin", policy), Allow)
    assert decided("git push --force", policy).policy_ids == ("force",)
    assert decided("git push; ls", policy).policy_ids == ("plain",)
