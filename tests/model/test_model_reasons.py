"""A reason word stands in one table: its exit code, its hint, and no literal anywhere else."""

import ast
from pathlib import Path

import pytest

from briefcase.model import reasons
from briefcase.model.errors import CODES
from briefcase.model.reasons import FAULT_NEXT_STEPS, REASONS, meaning_of, next_step_of, with_detail, word_of

PACKAGE = Path(reasons.__file__).parent.parent
HOME = PACKAGE / "model" / "reasons.py"
ALONE = PACKAGE / "core" / "receipts" / "verify_export.py"  # it runs without the package
# What the contract calls stable, beside `loopback_only` and the like of requests that are no call.
CONTRACT = {
    "unknown_tool",
    "invalid_args",
    "invalid_or_expired_approval",
    "policy_denied",
    "policy_error",
    "budget_exceeded",
    "rate_limited",
    "risk",
    "remote_mcp_incompatible",
    "sandbox_violation",
    "vc_status_unknown",
    "replay_detected",
    "capability_revoked",
    "receipts_unavailable",
    "unauthorized",
    "forbidden",
    "loopback_only",
    "outcome_unknown",
}
# Words that mean something else here: a provider's standing, and a table's title.
OTHER_MEANINGS = {
    ("edges/cli/client_files.py", "disabled"),  # a member of other programs' files
    ("edges/cli/render.py", "disabled"),
    ("edges/cli/providers.py", "disabled"),
    ("adapters/providers/client.py", "disabled"),
}
VERDICTS = {"Deny", "NeedsApproval", "Refused"}


def test_each_named_word_has_its_row_and_each_row_its_name():
    named = {
        value
        for name, value in vars(reasons).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    }
    assert named == set(REASONS)


def test_a_word_that_is_a_code_too_has_one_exit_code():
    for word in REASONS.keys() & CODES.keys():
        assert REASONS[word].exit_code == CODES[word].exit_code, word


@pytest.mark.parametrize("word", sorted({*REASONS, *FAULT_NEXT_STEPS, *CONTRACT}))
def test_each_reason_word_tells_an_agent_what_to_do_in_whole_sentences_and_names_no_command(word):
    said = next_step_of(with_detail(word, "something"))
    assert said == next_step_of(word)
    assert len(said.split()) >= 6
    assert said.endswith(".")
    assert "briefcase" not in said, "an agent cannot run the operator's commands"


def test_each_next_step_stands_in_one_table():
    assert FAULT_NEXT_STEPS.keys() <= CODES.keys()
    assert not FAULT_NEXT_STEPS.keys() & REASONS.keys()
    sentences = [reason.next_step for reason in REASONS.values()] + list(FAULT_NEXT_STEPS.values())
    assert len(set(sentences)) == len(sentences)
    assert next_step_of("refunds above 50 dollars are looked at") == ""


def literals(path):
    """Each text constant of a module with its parent node, docstrings left out."""
    tree = ast.parse(path.read_text())
    for parent in ast.walk(tree):
        if isinstance(parent, ast.Expr):
            continue
        for child in ast.iter_child_nodes(parent):
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                yield parent, child.value, child.lineno


def is_a_reason(parent, word):
    """A word that is no code is a reason wherever it stands; one that is both, where a verdict is made or compared."""
    if word not in CODES:
        return True
    if isinstance(parent, ast.Call):
        return getattr(parent.func, "id", getattr(parent.func, "attr", "")) in VERDICTS
    if isinstance(parent, ast.Compare):
        return getattr(parent.left, "attr", "") == "reason"
    return isinstance(parent, ast.JoinedStr)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_spells_a_reason_word_itself(path):
    if path in {HOME, ALONE}:
        return
    place = str(path.relative_to(PACKAGE))
    found = [
        f"{place}:{line} `{text}`"
        for parent, text, line in literals(path)
        if word_of(text) in REASONS
        and word_of(text) != reasons.RISK  # `risk` names the signals of a call everywhere
        and (place, word_of(text)) not in OTHER_MEANINGS
        and is_a_reason(parent, word_of(text))
    ]
    assert found == [], "take the word from `briefcase.model.reasons`"


@pytest.mark.parametrize(
    ("word", "detail", "reason"),
    [
        (reasons.INVALID_ARGS, "`/n` is not a number", "invalid_args: `/n` is not a number"),
        (reasons.RISK, "secret_like,invisible_text", "risk:secret_like,invisible_text"),
        (reasons.SANDBOX_VIOLATION, "host", "sandbox_violation:host"),
    ],
)
def test_a_reason_is_written_as_the_contract_has_it(word, detail, reason):
    assert with_detail(word, detail) == reason
    assert word_of(reason) == word
    assert meaning_of(reason) is REASONS[word]


def test_a_policys_own_words_are_a_refusal_without_a_hint():
    assert meaning_of("refunds above 50 dollars are looked at") == ("", 3, "")
