"""The active policy: installed once, replaced whole, and the last good one stays whatever happens."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policies import FILE_READ, NO_RISK, PERMIT_ALL

from briefcase.core.operator import policy_history
from briefcase.core.operator.policy import SETTING, PolicyService
from briefcase.core.policy.check import DEFAULT_POLICY_TEXT, parse_policy
from briefcase.core.policy.diff import PolicyChange, diff_policies
from briefcase.model.effects import Refused
from briefcase.model.errors import CallerError, StoreError
from briefcase.model.types import Allow, Deny
from support.clock import START_US, FakeClock
from support.ledger import MemoryLedger
from support.principals import AGENT
from support.tools import FakeTool, FakeTools, spec

DENY_ALL = "forbid(principal, action, resource);"


async def at_once(work):
    return work()


def make(ledger=None, run_blocking=at_once, tools=()):
    clock = FakeClock()
    ledger = ledger or MemoryLedger(clock)
    service = PolicyService(
        ledger=ledger, clock=clock, tools=FakeTools(*map(FakeTool, tools)), run_blocking=run_blocking
    )
    return service, ledger, clock


def verdict_of(service):
    return service.active().decide(AGENT, spec(), {}, NO_RISK, START_US)


async def test_the_first_start_installs_the_default_policy_with_a_receipt():
    service, ledger, _ = make()
    await service.open()
    text, digest_hex, updated_us = service.current()
    assert (text, updated_us) == (DEFAULT_POLICY_TEXT, START_US)
    assert digest_hex == parse_policy(DEFAULT_POLICY_TEXT).digest_hex
    (receipt,) = ledger.chain
    assert receipt.event["kind"] == "policy_set"
    assert (receipt.event["by"], receipt.event["policy_digest"]) == ("first start", digest_hex)


async def test_what_was_set_is_kept_and_decides_again():
    service, ledger, clock = make()
    await service.open()
    for by, text in (("ann", DENY_ALL), ("bob", PERMIT_ALL)):
        clock.advance(us=1_000)
        await service.set(text, by)
    digests = [parse_policy(text).digest_hex for text in (DEFAULT_POLICY_TEXT, DENY_ALL, PERMIT_ALL)]
    assert [(one.by, one.digest_hex) for one in service.history()] == list(
        zip(("first start", "ann", "bob"), digests, strict=True)
    )
    assert service.kept(digests[1]).text == DENY_ALL
    await service.roll_back(digests[1], "ann")
    assert isinstance(verdict_of(service), Deny)
    assert ledger.chain[-1].event["policy_digest"] == digests[1]

    again, *_ = make(ledger)
    await again.open()
    assert again.history() == service.history()
    assert [one.digest_hex for one in again.history()] == [*digests, digests[1]]
    with pytest.raises(CallerError) as raised:
        service.kept("ab" * 32)
    assert raised.value.code == "not_found"


async def test_the_history_keeps_the_newest_and_each_has_its_own_text(monkeypatch):
    monkeypatch.setattr(policy_history, "MAX_KEPT", 3)
    service, *_ = make()
    await service.open()
    texts = [f'permit(principal == Agent::"a{number}", action, resource);' for number in range(7)]
    for text in texts:
        await service.set(text, "ann")
    kept = service.history()
    assert [service.kept(one.digest_hex).text for one in kept] == texts[-3:]
    with pytest.raises(CallerError):
        service.kept(parse_policy(texts[0]).digest_hex)


async def test_two_that_are_set_at_once_are_both_kept():
    service, *_ = make()
    await service.open()
    await asyncio.gather(service.set(DENY_ALL, "ann"), service.set(PERMIT_ALL, "bob"))
    assert {one.by for one in service.history()} == {"first start", "ann", "bob"}
    assert {service.kept(one.digest_hex).text for one in service.history()[1:]} == {DENY_ALL, PERMIT_ALL}


async def test_what_could_not_be_stored_is_in_no_history():
    service, ledger, _ = make()
    await service.open()
    ledger.broken = "EIO"
    with pytest.raises(StoreError):
        await service.set(DENY_ALL, "ann")
    assert [one.by for one in service.history()] == ["first start"]


async def test_the_history_begins_with_what_an_earlier_release_had_set():
    service, ledger, _ = make()
    await service.open()
    for name in [name for name in ledger.settings if name.startswith("policy_history")]:
        del ledger.settings[name]
    later, *_ = make(ledger)
    await later.open()
    assert later.history() == ()
    await later.set(DENY_ALL, "ann")
    assert [(one.by, one.policies) for one in later.history()] == [("", 0), ("ann", 1)]
    assert later.kept(later.history()[0].digest_hex).text == DEFAULT_POLICY_TEXT


async def test_another_text_is_not_set_again():
    service, ledger, _ = make()
    await service.open()
    await service.set(DENY_ALL, "ann")
    digest_hex = service.active().digest_hex
    await service.set(PERMIT_ALL, "ann")
    ledger.settings["policy_history:1"] = ledger.settings["policy_history:2"]
    with pytest.raises(CallerError) as raised:
        await service.roll_back(digest_hex, "ann")
    assert raised.value.code == "not_found"
    ledger.settings["policy_history:1"] = b"{"
    with pytest.raises(StoreError):
        await service.roll_back(digest_hex, "ann")


async def test_an_unreadable_history_stops_the_start():
    service, ledger, _ = make()
    await service.open()
    ledger.settings["policy_history"] = b"{"
    with pytest.raises(StoreError):
        await make(ledger)[0].open()


def test_before_it_is_opened_everything_is_denied():
    service, *_ = make()
    assert verdict_of(service).reason == "policy_error"
    assert service.problem()


async def test_a_later_start_loads_what_was_set_and_receipts_nothing():
    service, ledger, clock = make()
    await service.open()
    clock.advance(us=5)
    await service.set(PERMIT_ALL, "operator")
    assert ledger.kinds() == ["policy_set", "policy_set"]
    again, *_ = make(ledger)
    await again.open()
    assert again.current() == service.current() == (PERMIT_ALL, parse_policy(PERMIT_ALL).digest_hex, START_US + 5)
    assert isinstance(verdict_of(again), Allow)
    assert len(ledger.chain) == 2


BAD = [
    "permit(principal, action, resource",
    "permit(principal, action, resource) when { resource.foo };",
    'permit(principal, action, resource == Tool::"file_read") when { context.args has pth };',
    "permit(principal == ?principal, action, resource);",
    '@id("a") permit(principal, action, resource);@id("a") permit(principal, action, resource);',
    "(" * 100_000,
    "\ud800",
    DEFAULT_POLICY_TEXT[: len(DEFAULT_POLICY_TEXT) // 2],
]


@pytest.mark.parametrize("text", BAD)
async def test_a_policy_that_is_not_sound_leaves_the_old_one_in_place(text):
    service, ledger, _ = make(tools=[FILE_READ])
    await service.open()
    before, stored = service.current(), ledger.setting(SETTING)
    with pytest.raises(CallerError):
        await service.set(text, "operator")
    assert service.current() == before
    assert ledger.setting(SETTING) == stored
    assert len(ledger.chain) == 1
    assert isinstance(verdict_of(service), Allow)


async def test_a_ledger_that_cannot_store_leaves_the_old_policy_in_place():
    service, ledger, _ = make()
    await service.open()
    ledger.broken = "EIO"
    with pytest.raises(StoreError):
        await service.set(DENY_ALL, "operator")
    assert isinstance(verdict_of(service), Allow)


async def test_a_ledger_that_refuses_leaves_the_old_policy_in_place(monkeypatch):
    service, ledger, _ = make()
    await service.open()

    async def refuse(_entry):
        return Refused("conflict")

    monkeypatch.setattr(ledger, "commit", refuse)
    with pytest.raises(StoreError):
        await service.set(DENY_ALL, "operator")
    assert isinstance(verdict_of(service), Allow)


async def test_the_old_policy_decides_until_the_new_one_is_stored():
    release = asyncio.Event()

    async def slowly(work):
        await release.wait()
        return work()

    service, ledger, _ = make()
    await service.open()
    service._run_blocking = slowly
    setting = asyncio.ensure_future(service.set(DENY_ALL, "operator"))
    await asyncio.sleep(0)
    assert isinstance(verdict_of(service), Allow)
    assert len(ledger.chain) == 1
    release.set()
    await setting
    assert isinstance(verdict_of(service), Deny)


async def test_of_two_set_at_once_the_one_committed_last_decides_and_is_stored():
    """Answers of the ledger may wake their callers in another order than it committed."""

    service, ledger, _ = make()
    await service.open()
    commit, first_may_go_on = ledger.commit, asyncio.Event()

    async def wake_the_first_last(entry):
        committed = await commit(entry)
        if committed.receipt_id == 2:
            await first_may_go_on.wait()
        return committed

    ledger.commit = wake_the_first_last
    first = asyncio.ensure_future(service.set(DENY_ALL, "one"))
    await asyncio.sleep(0)
    await service.set(PERMIT_ALL, "two")
    first_may_go_on.set()
    await first
    assert service.current()[0] == PERMIT_ALL
    again, *_ = make(ledger)
    await again.open()
    assert again.current() == service.current()


async def test_a_stored_policy_that_no_longer_compiles_denies_and_can_be_replaced():
    service, ledger, _ = make()
    await service.open()
    ledger.settings[SETTING] = ledger.settings[SETTING].replace(b"permit (", b"perhaps (")
    again, *_ = make(ledger)
    await again.open()
    assert verdict_of(again).reason == "policy_error"
    assert "does not compile" in again.problem()
    assert again.current()[0].startswith("// The policy a new installation starts with")
    await again.set(PERMIT_ALL, "operator")
    assert again.problem() is None
    assert isinstance(verdict_of(again), Allow)


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"text": 1, "updated_us": 2}', b"\xff"])
async def test_a_setting_that_is_no_policy_stops_the_start(kept):
    service, ledger, _ = make()
    ledger.settings[SETTING] = kept
    with pytest.raises(StoreError):
        await service.open()


async def test_policies_know_arguments_of_tools_registered_when_they_are_set():
    service, *_ = make(tools=[FILE_READ])
    await service.open()
    await service.set(
        'permit(principal, action, resource == Tool::"file_read") when { context.args.path == "a" };', "o"
    )
    assert "file_read" in service.current()[0]


# --- differences ------------------------------------------------------------------------------------------------


def diff(old, new):
    return diff_policies(parse_policy(old), parse_policy(new))


def test_a_diff_names_what_was_added_removed_and_changed():
    keep = '@id("keep") permit(principal, action, resource);'
    was = '@id("it") permit(principal, action, resource) when { resource.is_write };'
    now = '@id("it") permit(principal, action, resource) when { !resource.is_write };'
    gone, new = '@id("gone") forbid(principal, action, resource);', '@id("new") forbid(principal, action, resource);'
    assert diff(keep + was + gone, keep + now + new) == (
        PolicyChange("changed", "it", was, now),
        PolicyChange("added", "new", new=new),
        PolicyChange("removed", "gone", old=gone),
    )


@pytest.mark.parametrize(
    "new",
    [
        DEFAULT_POLICY_TEXT,
        DEFAULT_POLICY_TEXT.replace("\n", "\n\n").replace("permit (", "permit("),
        "// another comment\n" + DEFAULT_POLICY_TEXT,
    ],
)
def test_layout_and_comments_are_no_change(new):
    assert diff(DEFAULT_POLICY_TEXT, new) == ()


def test_a_policy_without_an_id_is_known_by_what_it_says():
    one, two = "permit(principal, action, resource);", "forbid(principal, action, resource);"
    assert diff(one, two + one) == (PolicyChange("added", "policy0", new=two),)
    assert diff(one + one, one) == (PolicyChange("removed", "policy1", old=one),)


IDS = st.lists(st.sampled_from("abcdef"), unique=True)


@given(old=IDS, new=IDS)
def test_a_diff_accounts_for_every_id(old, new):
    def text(ids):
        return "".join(f'@id("{name}") permit(principal, action, resource);' for name in ids)

    changes = diff(text(old), text(new))
    assert {change.policy_id for change in changes if change.op == "added"} == set(new) - set(old)
    assert {change.policy_id for change in changes if change.op == "removed"} == set(old) - set(new)
