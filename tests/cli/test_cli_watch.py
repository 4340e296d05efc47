"""The live screen lets nobody approve what they did not choose and read: the model, key by key."""

import io
import json
import signal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from briefcase.core.characters.marks import visible_text
from briefcase.core.json.members import members_of
from briefcase.core.operator.approvals import shown_digest_of
from briefcase.core.receipts.canonical import canonical_bytes
from briefcase.core.wire.approvals import ApprovalRecord, ShownApproval
from briefcase.edges.cli import watch as watching_screen
from briefcase.edges.cli.shown import lines_of, wrap
from briefcase.edges.cli.watch import ARMED_AFTER_MS, Decision, Wanted, Watch, _Interrupt, draw, split_keys
from briefcase.edges.client.reply import Reply
from briefcase.model.errors import CallerError
from support.wire import reply_of

WIDTH, PAGE = 80, 40
SMALL_PAGE = 5


def approval(name: str, summary: str = "") -> ApprovalRecord:
    return ApprovalRecord(
        id=name,
        summary=summary or f"note_add {name}",
        created_at="2026-01-01T00:00:00Z",
        principal="scout",
        tool_id="note_add",
        reason="policy",
        kind="local",
        expires_at="2026-01-01T00:15:00Z",
    )


def document(name: str, args_text: str = '{"text":"hi"}', **changes) -> Reply[ShownApproval]:
    """What the daemon shows of an approval."""
    tool = {"name": "note_add", "description": "", "category": "write", "cost": {"estimated_usd": 0.0}}
    shown = {
        **msgspec.to_builtins(approval(name)),
        "args_text": args_text,
        "tool": tool,
        "destination": "builtin",
        "risk": [],
        "policy_ids": ["ask"],
        "reasons": ["policy"],
        "last_approved": None,
        **changes,
    }
    return reply_of(ShownApproval, {**shown, "shown_digest_hex": shown_digest_of(shown)})


def yes(name: str, **changes) -> Decision:
    return Decision("approve", name, document(name, **changes).answer.shown_digest_hex)


def reading(args_text: str, page: int = SMALL_PAGE, **changes) -> Watch:
    """A screen whose only call was fetched and is at its top."""
    watch = Watch(Wanted())
    watch.update([approval("one")], -ARMED_AFTER_MS)
    watch.take(document("one", args_text, **changes))
    watch.lay_out(WIDTH, page)
    return watch


def see(watch: Watch, page: int = PAGE) -> None:
    """The selected call is fetched, and the screen drawn."""
    watch.take(document(watch.selected))
    watch.lay_out(WIDTH, page)


def read_on(watch: Watch, page: int = SMALL_PAGE) -> list[str]:
    """All lines, page after page to the end."""
    lines = [line.plain for line in watch.lay_out(WIDTH, page)]
    while watch.lines_below:
        watch.press("more", 0)
        lines += [line.plain for line in watch.lay_out(WIDTH, page)]
    return lines


def watching(*names: str, now_ms: int = 0) -> Watch:
    """A screen that has shown these for a while."""
    watch = Watch(Wanted())
    watch.update([approval(name) for name in names], now_ms - ARMED_AFTER_MS)
    see(watch)
    return watch


def test_a_and_d_decide_the_selected_call():
    watch = watching("one", "two")
    assert watch.press("approve", 0) == yes("one")
    watch.press("down", 0)
    see(watch)
    assert watch.press("deny", 0) == Decision("deny", "two")


def test_the_selection_stays_on_its_call_when_the_list_changes():
    watch = watching("one", "two")
    watch.update([approval("zero"), approval("one"), approval("three")], 10)
    see(watch)
    assert watch.press("approve", 10) == yes("one")


@pytest.mark.parametrize("key", ["approve", "deny"])
def test_a_key_on_its_way_does_not_decide_the_call_that_took_the_place(key):
    watch = watching("one", "two")
    watch.update([approval("two")], 1_000)
    see(watch)
    assert watch.selected == "two"
    assert watch.press(key, 1_000 + ARMED_AFTER_MS - 1) is None
    assert "press again" in watch.message.plain


def test_the_first_call_to_arrive_takes_no_key_at_once():
    watch = Watch(Wanted())
    watch.update([], 0)
    watch.update([approval("one")], 5_000)
    see(watch)
    assert watch.press("approve", 5_001) is None


def test_a_held_key_never_gets_through():
    watch = watching("one", "two")
    watch.update([approval("two")], 0)
    see(watch)
    assert all(watch.press("approve", now_ms) is None for now_ms in range(0, 60_000, 30))


def test_after_a_pause_the_call_can_be_decided():
    watch = watching("one", "two")
    watch.update([approval("two")], 0)
    see(watch)
    assert watch.press("approve", ARMED_AFTER_MS) == yes("two")


def test_choosing_with_the_arrows_arms_at_once():
    watch = watching("one", "two", "three")
    watch.update([approval("two"), approval("three")], 0)
    watch.press("down", 1)
    see(watch)
    assert watch.press("approve", 2) == yes("three")


def test_an_arrow_that_moves_nowhere_arms_nothing():
    watch = watching("one", "two")
    watch.update([approval("two")], 0)
    see(watch)
    watch.press("down", 1)
    assert watch.press("approve", 2) is None


def test_a_call_that_does_not_fit_is_approved_only_after_it_was_read_to_its_end():
    text = '{"a_memo":"' + "harmless " * 80 + '","to":"mallory"}'
    watch = reading(text)
    assert watch.lines_below > 0
    assert watch.press("approve", 0) is None
    assert f"read all of it first: {watch.lines_left} more lines" in watch.message.plain
    shown = "".join(read_on(watch))
    assert '"to": "mallory"' in shown
    assert watch.press("approve", 0) == yes("one", args_text=text)


def test_how_many_places_are_redacted_stands_above_the_arguments():
    for places, line in ((1, "1 place is redacted"), (1_200, "1,200 places are redacted")):
        lines = read_on(reading('{"text":"[redacted: secret of demo]"}', redacted_places=places))
        assert lines.index(line) < lines.index('  "text": "[redacted: secret of demo]"')
    forged = read_on(reading('{"text":"\\n0 places are redacted"}', redacted_places=0))
    assert not any(line.startswith(("0 places", "1 place")) for line in forged)


def test_short_members_come_first_and_long_ones_whole_with_their_length():
    watch = reading('{"a_memo":"' + "Monthly rent. " * 300 + '","amount":999999,"to":"mallory"}')
    lines = read_on(watch)
    places = [next(i for i, line in enumerate(lines) if part in line) for part in ('"to"', '"amount"', '"a_memo"')]
    assert places == sorted(places)
    assert '  "a_memo": 4,202 characters' in lines
    assert any(line.startswith("3 arguments") for line in lines)


def test_what_stands_beside_the_call_is_on_the_screen():
    watch = reading(
        "{}",
        risk=["secret_like"],
        reasons=["pays", "risk:secret_like"],
        destination="https://bank.example",
        tool={
            "name": "bank.pay",
            "description": "Pays out",
            "category": {"other": "payments"},
            "cost": {"estimated_usd": 0.002},
            "server": "bank",
        },
        last_approved={"approval_id": "x", "at": "2026-01-01T00:00:00Z", "by": "ann", "is_same_call": False},
    )
    text = "\n".join(read_on(watch))
    for part in ("scout", "payments, $0.002", "https://bank.example · server bank", "pays", "secret_like", "ask"):
        assert part in text
    assert "another call of this tool, 2026-01-01 00:00:00Z, by ann" in text
    assert "    Pays out" in text


def test_no_word_of_the_agent_or_a_server_passes_for_a_line_of_ours():
    liar = '{"x":"' + "y" * 200 + "\\nrisk         no signal" + '","\\nrisk":"no"}'
    told = {"name": "n", "description": "z" * 90 + " 3 arguments", "category": "read", "cost": {"estimated_usd": 0.0}}
    lines = read_on(reading(liar, risk=["secret_like"], tool=told))
    begin = next(index for index, line in enumerate(lines) if line.startswith("2 arguments"))
    ours = [line for line in lines[begin:] if not line.startswith("  ")]
    assert {line.split(",")[0] for line in ours} == {"2 arguments", "the tool describes itself"}


def test_two_names_that_look_the_same_are_both_shown():
    watch = reading('{"a<U+200B>":1,"a<U+200B>":2}', PAGE)
    lines = [line.plain for line in watch.lay_out(WIDTH, PAGE)]
    assert [line for line in lines if "<U+200B>" in line] == ['  "a<U+200B>": 1', '  "a<U+200B>": 2']


def test_a_document_that_is_not_what_its_digest_says_is_not_taken():
    watch = watching("one")
    with pytest.raises(CallerError):
        watch.take(reply_of(ShownApproval, {**document("one").document, "args_text": '{"text":"ho"}'}))
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("approve", 0) is None


def test_a_daemon_that_shows_no_whole_call_gets_no_yes():
    watch = Watch(Wanted())
    watch.update([approval("one")], -ARMED_AFTER_MS)
    with pytest.raises(CallerError, match="no whole call"):
        watch.take(reply_of(ShownApproval, approval("one")))
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("approve", 0) is None
    assert watch.press("deny", 0) == Decision("deny", "one")


def test_a_document_that_came_late_is_not_taken_for_the_call_selected_since():
    watch = watching("one", "two")
    watch.press("down", 0)
    watch.take(document("one"))
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("approve", 0) is None


def test_a_call_that_does_not_fit_may_be_denied_unread():
    assert reading('{"x":"' + "x" * 4_000 + '"}').press("deny", 0) == Decision("deny", "one")


def test_reading_one_call_says_nothing_of_another():
    watch = watching("one", "two")
    watch.press("down", 0)
    see(watch, SMALL_PAGE)
    assert watch.press("approve", 0) is None


def test_a_call_that_was_not_on_the_screen_yet_is_not_approved():
    watch = watching("one", "two")
    watch.press("down", 0)
    assert watch.press("approve", 0) is None
    assert "not on the screen yet" in watch.message.plain


def test_coming_back_to_a_call_means_reading_it_again():
    watch = watching("one", "two")
    for key in ("down", *["more"] * 50, "up", "down"):
        watch.press(key, 0)
        see(watch, SMALL_PAGE)
    assert watch.press("approve", 0) is None


def test_going_back_and_forth_shows_all_of_it():
    watch = reading('{"x":"' + "x" * 4_000 + '"}')
    top = [line.plain for line in watch.lay_out(WIDTH, SMALL_PAGE)]
    watch.press("more", 0)
    assert next(line.plain for line in watch.lay_out(WIDTH, SMALL_PAGE)) == top[-1]
    watch.press("back", 0)
    assert [line.plain for line in watch.lay_out(WIDTH, SMALL_PAGE)] == top
    read_on(watch)
    assert watch.press("approve", 0) is not None


def test_a_terminal_too_small_to_show_a_call_approves_none():
    for page in (0, -3):
        watch = reading("{}", page)
        assert watch.lay_out(WIDTH, page) == []
        watch.press("more", 0)
        watch.lay_out(WIDTH, page)
        assert watch.press("approve", 0) is None


@pytest.mark.parametrize("width", [6, 9, 12, 13, 16, 20, 21, 30])
def test_on_a_narrow_terminal_no_line_of_a_call_is_cut_at_its_edge(width):
    told = document(
        "one", '{"to":"mallory"}', destination="https://good.example.evil.test/pay", risk=["secret_like"]
    ).answer
    lines = lines_of(told, width)
    assert max(line.cell_len for line in lines) <= width
    assert "https://good.example.evil.test/pay" in "".join(line.plain.strip() for line in lines)


def test_a_terminal_too_narrow_for_one_character_of_an_argument_approves_none():
    watch = reading('{"to":"mallory"}')
    for _ in range(200):
        watch.lay_out(5, PAGE)
        watch.press("more", 0)
    assert watch.press("approve", 0) is None


def test_what_a_server_asks_is_read_before_the_answer_and_passes_for_no_line_of_ours():
    question = '{"q":{"method":"elicitation/create","params":{"message":"1 argument, 13 characters\u202e"}}}'
    watch = reading('{"responses":{}}', question_text=question)
    assert watch.lines_left
    lines = read_on(watch)
    at = lines.index(f"the server asks, {len(question):,} characters")
    assert at < lines.index("1 argument, 16 characters")
    assert any("<U+202E>" in line for line in lines[at:])
    assert not any(line.startswith("1 argument, 13") for line in lines)


def test_lines_read_at_one_width_do_not_count_at_another():
    watch = reading('{"x":"' + "x" * 400 + '"}')
    read_on(watch)
    watch.lay_out(WIDTH - 10, 2)
    assert watch.press("approve", 0) is None


@example("\x1f\x1f\x1f\x1f\u2e80\U00018cd6", "", "", 10, 17)  # a wide character where a line ends
@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300), st.integers(10, 200), st.integers(1, 60))
def test_what_counts_as_read_was_on_the_screen(value, description, message, width, height):
    args_text = visible_text(json.dumps({"text": value}, ensure_ascii=False))
    told = {"name": "n", "description": description, "category": "read", "cost": {"estimated_usd": 0.0}}
    watch = Watch(Wanted())
    watch.update([approval("one")], -ARMED_AFTER_MS)
    watch.take(document("one", args_text, tool=told))
    watch.message = Text(visible_text(message))
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(draw(watch, console))
    lines = console.export_text().splitlines()
    if watch.press("approve", 0) is not None:
        assert len(lines) <= height
        shown = "".join(line.rstrip("\n") for line in lines).replace(" ", "")
        assert visible_text(description).replace(" ", "") in shown
        assert args_text.removeprefix('{"text": ').removesuffix("}").replace(" ", "") in shown


def test_nothing_selected_decides_nothing():
    watch = Watch(Wanted())
    watch.update([], 0)
    assert [watch.press(key, 10_000) for key in ("approve", "deny", "up", "down", "more", "back")] == [None] * 6


@given(st.text() | st.text("\u4e00a ", min_size=1), st.integers(2, 200))
def test_wrapping_drops_nothing_an_approver_must_see_and_every_line_fits(text, width):
    lines = wrap(text, width)
    assert "".join(lines) == visible_text(text)
    assert all(line.isprintable() and cell_len(line) <= width for line in lines)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_every_member_of_every_call_is_shown_whole(args):
    args_text = visible_text(canonical_bytes(args).decode())
    members = members_of(args_text)
    assert sorted(f"{name}:{value}" for name, value in members if name) == sorted(
        visible_text(f"{canonical_bytes(name).decode()}:{canonical_bytes(value).decode()}")
        for name, value in args.items()
    )
    shown = "".join(line.plain.strip() for line in lines_of(document("one", args_text).answer, 100)).replace(" ", "")
    for _, value in members:
        assert value.replace(" ", "") in shown


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"a", ["approve"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA\x1bOB", ["up", "down"]),
        (b"kjq", ["up", "down", "quit"]),
        (b"b", ["back"]),
        (b"x\x00\xff", []),
        (b"\x1b", []),
        (b"\x1b[200~", []),
        (b"A", []),
        (b"\x1b[a", []),  # shift and an arrow, on some terminals
        (b"\x1bOd", []),
        (b"\x1ba", []),  # alt and a
        (b"\x1b[3~", []),
        (b"aa", []),
        (b"said\n", []),  # a paste
        (b"jja", ["down", "down"]),
        (b"12a4\n", []),  # a paste of which one letter alone is a key
        (b"\x1b[200~a\x1b[201~", []),  # bracketed
        (b"a\n", []),
    ],
)
def test_keys_are_what_the_terminal_sent(data, keys):
    assert split_keys(data) == keys


def test_what_arrives_is_counted_once_and_what_is_not_wanted_is_told_beside():
    watch = Watch(Wanted(agent="scout"))
    others = [msgspec.structs.replace(approval("other"), principal="ranger")]
    watch.update([approval("one"), *others], 0)
    assert ([one.id for one in watch.waiting], watch.others, watch.arrived) == (["one"], 1, 1)
    watch.update((), 0)  # the daemon is away
    watch.update([approval("one"), approval("two")], 0)
    assert (watch.arrived, watch.others) == (2, 0)
    console = Console(width=80, height=12, file=io.StringIO(), force_terminal=True)
    watch.update([approval(f"a{number}") for number in range(9)] + others, 0)
    console.print(draw(watch, console))
    assert "9 waiting for you, 8 more than fit; 1 of others" in console.file.getvalue()
    assert Wanted(tool_id="echo").holds(approval("one")) is False
    assert Wanted("scout", "note_add").holds(approval("one")) is True


def test_watching_for_programs_goes_on_over_a_restart_and_tells_each_once(run, daemon, monkeypatch):
    one, two = (msgspec.to_builtins(approval(name)) for name in ("one", "two"))
    two["principal"] = "ranger"
    away = (503, {"code": "not_ready", "message": "it starts"})
    answers = iter([{"approvals": [one]}, away, away, {"approvals": [one, two]}, {"approvals": [two, one]}])

    def next_answer():
        return next(answers, (400, {"code": "bad_request", "message": "enough"}))

    daemon.answers["GET", "/v1/approvals"] = next_answer
    monkeypatch.setattr(watching_screen, "POLL_MS", 0)
    ran = run("approvals", "watch", "--json", "--agent", "scout")
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == ["one"]
    assert (ran.err.count("waiting for the daemon"), ran.err.count("is back"), ran.code) == (1, 1, 2)


class Raising:
    """Ctrl-C is pressed while this is destroyed."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_a_destructor_swallowed_is_raised_at_the_next_turn():
    before = signal.getsignal(signal.SIGINT)
    with _Interrupt() as interrupt:
        interrupt.check()
        Raising()
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    assert signal.getsignal(signal.SIGINT) is before
