"""`briefcase help`: every page, where no checkout is; and no message names a file that only a checkout has."""

import ast
import re
from pathlib import Path

import pytest

from briefcase.edges.cli.config import help_of
from briefcase.edges.cli.help import anchor_of, section_of, topics, with_commands
from briefcase.edges.diagnostics.triage import READ
from briefcase.model.variables import BY_NAME
from support.cli import FakeRoot, run

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "briefcase"
HELP = re.compile(r"briefcase help ([a-z-]+)(?:#([a-z-]+))?")
PATHS = {"model/variables.py", "daemon/config_file.py"}  # pages of the reference, shown as commands


def texts_of(path):
    """The texts in a module that are not docstrings."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


MESSAGES = {(str(path.relative_to(PACKAGE)), text) for path in sorted(PACKAGE.rglob("*.py")) for text in texts_of(path)}
NAMED = sorted(
    {found for _, text in MESSAGES for found in HELP.findall(text)}
    | {HELP.fullmatch(read).groups("") for read in READ.values()}
    | {HELP.fullmatch(help_of(variable.page)).groups("") for variable in BY_NAME.values()}
)


def test_the_pages_are_listed_with_their_titles(tmp_path):
    ran = run(FakeRoot(tmp_path), "help", "--json")
    listed = {one["topic"]: one["title"] for one in ran.json["topics"]}
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "adr"]
    assert len(listed) == len(pages)
    assert listed["receipt-chain"] == "The receipt chain does not verify"
    assert listed["deploy"] == "Users and hosts"


def test_a_page_is_printed_and_its_links_are_commands(tmp_path):
    ran = run(FakeRoot(tmp_path), "help", "deploy")
    assert ran.code == 0
    assert ran.out.startswith("# Users and hosts\n")
    assert "`briefcase help operations#one-uid`" in ran.out
    assert "](" not in ran.out


def test_one_section_is_printed(tmp_path):
    ran = run(FakeRoot(tmp_path), "help", "operations#modes")
    assert ran.out.startswith("## Modes\n")
    assert "## Strict host" not in ran.out


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("receipt-chian", "did you mean `receipt-chain`?"),
        ("zzz", "`briefcase help` lists them"),
        ("operations#zzz", "see `briefcase help operations`"),
        ("../../etc/passwd", "`briefcase help` lists them"),
    ],
)
def test_what_is_no_page_is_refused_with_what_to_do(tmp_path, topic, says):
    ran = run(FakeRoot(tmp_path), "help", topic)
    assert ran.code == 4
    assert says in ran.err


@pytest.mark.parametrize(("topic", "anchor"), NAMED)
def test_a_page_that_a_message_names_is_there_with_its_section(topic, anchor):
    page = topics()[topic]
    assert not anchor or section_of(page.read_text(), anchor)


def test_no_message_names_a_file_that_only_a_checkout_has():
    named = {(path, text) for path, text in MESSAGES if "docs/" in text and path not in PATHS}
    assert named == set()


def test_a_comment_of_an_example_is_no_heading():
    text = "# A\n\n```sh\n# a comment\n```\n\nafter\n\n# B\n"
    assert section_of(text, "a") == "# A\n\n```sh\n# a comment\n```\n\nafter\n\n"
    assert section_of(text, "a-comment") is None
    assert anchor_of("[server]") == "server"


def test_a_link_to_what_is_not_installed_is_its_words():
    page = topics()["policy"]
    shown = with_commands("[a](../briefcase/x.py) [b](https://example.org) [c](receipts.md#x)", page, topics())
    assert shown == "a [b](https://example.org) c (`briefcase help receipts#x`)"
