"""A policy that is asked for in words: what it comes to, and that nothing of it is set unseen."""

import asyncio
import sys

import msgspec
import pytest

from briefcase.adapters.children.confinement import Confinement
from briefcase.adapters.prompting import PromptCommand
from briefcase.core.operator.proposals import MAX_PROPOSALS, TTL_US, NotApplied
from briefcase.core.policy.check import check_policy
from briefcase.core.policy.templates import with_policies, write_policies
from briefcase.model.effects import Committed
from briefcase.model.errors import CallerError, UpstreamError
from support.proposals import ProposalDesk

SCOUT, NOTE = 'principal == Agent::"scout"', 'resource == Tool::"note_add"'
CALL, ALONE = 'action == Action::"Call"', 'action == Action::"CallWithoutApproval"'


class Asked:
    """What a command was asked, and what it answers."""

    def __init__(self, answer: str) -> None:
        self.answer, self.asked = answer, []

    async def policy_of(self, prompt, policy_text):
        self.asked.append((prompt, policy_text))
        return self.answer


@pytest.mark.parametrize(
    ("sentence", "policies"),
    [
        ("let scout call note_add", [f"permit ( {SCOUT}, {CALL}, {NOTE} );"]),
        ("Allow  group crew to use anything.", [f'permit ( principal in Group::"crew", {CALL}, resource );']),
        ("never let anyone use server mail", [f'forbid ( principal, {CALL}, resource in Server::"mail" );']),
        ("ask before scout calls provider quotes", [f'forbid ( {SCOUT}, {ALONE}, resource in Provider::"quotes" );']),
        (
            "let scout call note_add without asking",
            [f"permit ( {SCOUT}, {CALL}, {NOTE} );", f"permit ( {SCOUT}, {ALONE}, {NOTE} );"],
        ),
    ],
)
def test_a_sentence_says_one_thing(sentence, policies):
    written = write_policies(sentence, "p")
    parsed = check_policy(written.text)
    texts = [" ".join(parsed.source.policy(index).split()) for index in range(len(parsed.names))]
    assert texts == [f'@id("p-{number}") {policy}' for number, policy in enumerate(policies, start=1)]


@pytest.mark.parametrize(
    "sentence",
    [
        "", "let scout", "let scout call", "let scout call note_add and note_list", "please let scout call note_add",
        'let scout call note_add"); permit(principal, action, resource',
        "let scout call note_add without asking anybody", "let group call note_add",
        "let server mail call note_add", "do not let scout call note_add",
        "let sc\u043eut call note_add", "let scout call note_add\nlet anyone call anything",
    ],
)  # fmt: skip
def test_what_is_not_quite_a_form_is_none(sentence):
    assert write_policies(sentence, "p") is None


def test_a_policy_of_an_id_that_is_there_takes_its_place():
    text = '@id("a") permit(principal, action, resource);\n@id("b") forbid(principal, action, resource);\n'
    changed = with_policies(text, '@id("a") forbid(principal, action, resource);')
    assert check_policy(changed).names == ("b", "a")
    assert "permit" not in changed


async def test_a_proposal_changes_nothing_until_it_is_applied_as_it_was_shown():
    desk = await ProposalDesk.open()
    before = desk.text
    made = await desk.proposals.propose("let scout call note_add without asking", "ann")
    shown = desk.proposals.shown(made)
    assert desk.text == before
    assert [one["op"] for one in shown["policies"]] == ["added", "added"]
    assert {line["op"] for line in shown["diff"]} == {"context", "add"}
    event = desk.ledger.chain[-1].event
    assert (event["kind"], event["by"], event["proposal_id"]) == ("policy_proposed", "ann", made.id)

    unseen = await desk.proposals.apply(made.id, None, "bo")
    assert (unseen.status, unseen.shown_digest_hex) == ("approval_required", shown["shown_digest_hex"])
    assert (await desk.apply(made, "0" * 64)).status == "denied"
    assert desk.text == before

    assert isinstance(await desk.apply(made), Committed)
    assert desk.text == shown["proposed_policy_text"]
    event = desk.ledger.chain[-1].event
    assert (event["kind"], event["by"], event["proposed_by"], event["shown_digest"]) == (
        "policy_set", "bo", "ann", shown["shown_digest_hex"],
    )  # fmt: skip
    assert desk.proposals.list() == ()
    with pytest.raises(CallerError, match="no proposal that waits"):
        await desk.apply(made, "0" * 64)


async def test_a_proposal_over_a_policy_that_is_another_by_now_is_not_applied():
    desk = await ProposalDesk.open()
    made = await desk.proposals.propose("never let anyone call note_add", "ann")
    digest = desk.proposals.shown(made)["shown_digest_hex"]
    await desk.policy.set("permit(principal, action, resource);", "bo")
    before = desk.text
    for said in (digest, desk.proposals.shown(made)["shown_digest_hex"]):
        assert isinstance(refused := await desk.apply(made, said), NotApplied)
        assert (refused.status, desk.text) == ("error", before)


async def test_a_policy_that_is_set_while_a_proposal_is_applied_is_not_replaced(monkeypatch):
    desk = await ProposalDesk.open()
    made = await desk.proposals.propose("never let anyone call note_add", "ann")
    prepare = desk.policy.prepare

    async def with_another_before(**named):
        monkeypatch.undo()
        await desk.policy.set("permit(principal, action, resource);", "bo")
        return await prepare(**named)

    monkeypatch.setattr(desk.policy, "prepare", with_another_before)
    assert (await desk.apply(made)).status == "error"
    assert desk.text == "permit(principal, action, resource);"


async def test_a_policy_whose_receipt_is_on_its_way_is_not_replaced_by_a_proposal(monkeypatch):
    desk = await ProposalDesk.open()
    made = await desk.proposals.propose("let anyone call note_add without asking", "ann")
    commit, is_written, is_asked = desk.ledger.commit, asyncio.Event(), asyncio.Event()

    async def slowly(entry):
        monkeypatch.undo()
        is_asked.set()
        await is_written.wait()
        return await commit(entry)

    monkeypatch.setattr(desk.ledger, "commit", slowly)
    setting = asyncio.create_task(desk.policy.set("forbid(principal, action, resource);", "bo"))
    await is_asked.wait()
    applied = await desk.apply(made)
    is_written.set()
    await setting
    assert (applied.status, desk.text) == ("error", "forbid(principal, action, resource);")


async def test_a_proposal_ends_and_is_dropped_with_a_receipt():
    desk = await ProposalDesk.open()
    made = await desk.proposals.propose("never let anyone call note_add", "ann")
    await desk.proposals.drop(made.id, "bo")
    assert (desk.ledger.chain[-1].event["kind"], desk.ledger.chain[-1].event["by"]) == ("policy_dropped", "bo")
    made = await desk.proposals.propose("never let anyone call note_add", "ann")
    desk.clock.advance(us=TTL_US)
    assert desk.proposals.list() == ()
    with pytest.raises(CallerError, match="no proposal that waits"):
        await desk.apply(made, "0" * 64)


@pytest.mark.parametrize(
    ("prompt", "code", "says"),
    [
        ("make it safe", "bad_request", "no known form"),
        ("", "bad_request", "1 to 4,000 characters"),
        ("x" * 4_001, "bad_request", "1 to 4,000 characters"),
        ("cedar:", "bad_request", "at least one policy"),
        ("cedar: permit(principal, action, resource)", "invalid_policy", "line 1"),
        ('Cedar: permit(principal, action == Action::"Fly", resource);', "invalid_policy", "Fly"),
        ('cedar: @id("x") @approvers("1") permit(principal, action, resource);', "invalid_policy", "@approvers"),
    ],
)  # fmt: skip
async def test_what_is_not_sound_is_not_proposed(prompt, code, says):
    desk = await ProposalDesk.open()
    with pytest.raises(CallerError) as refused:
        await desk.proposals.propose(prompt, "ann")
    assert (refused.value.code, says in refused.value.message) == (code, True), refused.value.message
    assert desk.ledger.kinds() == ["policy_set"]


async def test_a_bounded_number_of_them_waits():
    desk = await ProposalDesk.open()
    for _ in range(MAX_PROPOSALS):
        await desk.proposals.propose("never let anyone call note_add", "ann")
    with pytest.raises(CallerError, match="wait already"):
        await desk.proposals.propose("never let anyone call note_add", "ann")


async def test_what_a_command_answers_is_validated_and_only_proposed():
    asked = Asked("permit(principal, action, resource);")
    desk = await ProposalDesk.open(asked)
    before = desk.text
    made = await desk.proposals.propose("make it simple", "ann")
    assert asked.asked == [("make it simple", before)]
    assert (desk.text, made.text) == (before, asked.answer)
    assert "remove" in {line["op"] for line in desk.proposals.shown(made)["diff"]}
    asked.answer = "ignore the above"
    with pytest.raises(CallerError) as refused:
        await desk.proposals.propose("make it simpler", "ann")
    assert refused.value.code == "invalid_policy"


def command(tmp_path, script, **changes):
    path, data = tmp_path / "prompt.py", tmp_path / "data"
    data.mkdir(mode=0o700)
    path.write_text(f"import json, os, sys, time\n{script}\n")
    environ = {"PATH": "/usr/bin:/bin", "BRIEFCASE_AUTH_TOKEN": "secret", "HOME": "/tmp"}
    return PromptCommand((sys.executable, str(path)), Confinement(data, (), needs_all=False), environ, **changes)


async def test_a_command_is_asked_on_its_standard_input_and_gets_none_of_our_variables(tmp_path):
    script = "a = json.load(sys.stdin); print(a['prompt'], a['policy_text'], 'BRIEFCASE_AUTH_TOKEN' in os.environ)"
    assert await command(tmp_path, script).policy_of("a", "b") == "a b False\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("sys.exit(3)", "exited with 3"),
        ("time.sleep(600)", "not done in"),
        ("sys.stdout.write('x' * (1 << 21))", "answered more than"),
        ("sys.stdout.buffer.write(b'\\xff')", "no UTF-8"),
    ],
)
async def test_a_command_that_fails_proposes_nothing(tmp_path, script, says):
    limit = {"timeout_s": 0.2} if "sleep" in script else {}
    with pytest.raises(UpstreamError, match=says):
        await command(tmp_path, script, **limit).policy_of("a", "b")


async def test_two_who_apply_and_drop_at_once_do_not_both(monkeypatch):
    desk = await ProposalDesk.open()
    made = await desk.proposals.propose("never let anyone call note_add", "ann")
    results = await asyncio.gather(desk.apply(made), desk.proposals.drop(made.id, "ann"), return_exceptions=True)
    assert sum(isinstance(result, CallerError) for result in results) == 1
    assert msgspec.json.decode(desk.ledger.settings["policy_proposals"]) == []
