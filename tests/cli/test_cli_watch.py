"""The live screen lets nobody approve what they did not choose and read: the model, key by key."""

import io
import signal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from briefcase.approvals import visible_text
from briefcase.cli.watch import ARMED_AFTER_MS, Decision, Watch, _Interrupt, draw, split_keys, wrap

WIDTH, PAGE = 40, 5


def approval(name: str, summary: str = "") -> dict:
    return {
        "id": name,
        "summary": summary or f"note_add {name}",
        "principal": "scout",
        "tool_id": "note_add",
        "reason": "policy",
        "expires_at": "2026-01-01T00:15:00Z",
    }


def watching(*names: str, now_ms: int = 0) -> Watch:
    """A screen that has shown these for a while."""
    watch = Watch()
    watch.update([approval(name) for name in names], now_ms - ARMED_AFTER_MS)
    watch.lay_out(WIDTH, PAGE)
    return watch


def test_a_and_d_decide_the_selected_call():
    watch = watching("one", "two")
    assert watch.press("approve", 0) == Decision("approve", "one")
    watch.press("down", 0)
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("deny", 0) == Decision("deny", "two")


def test_the_selection_stays_on_its_call_when_the_list_changes():
    watch = watching("one", "two")
    watch.update([approval("zero"), approval("one"), approval("three")], 10)
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("approve", 10) == Decision("approve", "one")


@pytest.mark.parametrize("key", ["approve", "deny"])
def test_a_key_on_its_way_does_not_decide_the_call_that_took_the_place(key):
    watch = watching("one", "two")
    watch.update([approval("two")], 1_000)
    watch.lay_out(WIDTH, PAGE)
    assert watch.selected == "two"
    assert watch.press(key, 1_000 + ARMED_AFTER_MS - 1) is None
    assert "press again" in watch.message.plain


def test_the_first_call_to_arrive_takes_no_key_at_once():
    watch = Watch()
    watch.update([], 0)
    watch.update([approval("one")], 5_000)
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("approve", 5_001) is None


def test_a_held_key_never_gets_through():
    watch = watching("one", "two")
    watch.update([approval("two")], 0)
    watch.lay_out(WIDTH, PAGE)
    assert all(watch.press("approve", now_ms) is None for now_ms in range(0, 60_000, 30))


def test_after_a_pause_the_call_can_be_decided():
    watch = watching("one", "two")
    watch.update([approval("two")], 0)
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("approve", ARMED_AFTER_MS) == Decision("approve", "two")


def test_choosing_with_the_arrows_arms_at_once():
    watch = watching("one", "two", "three")
    watch.update([approval("two"), approval("three")], 0)
    watch.press("down", 1)
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("approve", 2) == Decision("approve", "three")


def test_an_arrow_that_moves_nowhere_arms_nothing():
    watch = watching("one", "two")
    watch.update([approval("two")], 0)
    watch.lay_out(WIDTH, PAGE)
    watch.press("down", 1)
    assert watch.press("approve", 2) is None


def test_a_call_that_does_not_fit_is_approved_only_after_it_was_read_to_its_end():
    watch = Watch()
    watch.update([approval("one", "harmless " * 40 + "rm -rf /")], -ARMED_AFTER_MS)
    watch.lay_out(WIDTH, PAGE)
    assert watch.lines_below > 0
    assert watch.press("approve", 0) is None
    assert "read all of it first" in watch.message.plain
    while watch.lines_below:
        watch.press("more", 0)
        shown = watch.lay_out(WIDTH, PAGE)
    assert "rm -rf /" in "".join(shown)
    assert watch.press("approve", 0) == Decision("approve", "one")


def test_a_call_that_does_not_fit_may_be_denied_unread():
    watch = Watch()
    watch.update([approval("one", "x" * 4_000)], -ARMED_AFTER_MS)
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("deny", 0) == Decision("deny", "one")


def test_reading_one_call_says_nothing_of_another():
    watch = Watch()
    watch.update([approval("one", "x" * 150), approval("two", "y" * 4_000)], -ARMED_AFTER_MS)
    watch.lay_out(WIDTH, PAGE)
    watch.press("down", 0)
    watch.lay_out(WIDTH, PAGE)
    assert watch.press("approve", 0) is None


def test_a_call_that_was_not_on_the_screen_yet_is_not_approved():
    watch = watching("one", "two")
    watch.press("down", 0)
    assert watch.press("approve", 0) is None


def test_coming_back_to_a_call_means_reading_it_again():
    watch = Watch()
    watch.update([approval("one"), approval("two", "y" * 4_000)], -ARMED_AFTER_MS)
    for key in ("down", *["more"] * 50, "up", "down"):
        watch.press(key, 0)
        watch.lay_out(WIDTH, PAGE)
    assert watch.press("approve", 0) is None


def test_a_terminal_too_small_to_show_a_call_approves_none():
    watch = Watch()
    watch.update([approval("one")], -ARMED_AFTER_MS)
    for page in (0, -3):
        assert watch.lay_out(WIDTH, page) == []
        watch.press("more", 0)
        assert watch.press("approve", 0) is None


def test_lines_read_at_one_width_do_not_count_at_another():
    watch = Watch()
    watch.update([approval("one", "x" * 400)], -ARMED_AFTER_MS)
    watch.lay_out(20, PAGE)
    watch.press("more", 0)
    watch.lay_out(20, PAGE)
    watch.lay_out(80, 2)
    assert watch.press("approve", 0) is None


@example(["\x1f\x1f\x1f\x1f\u2e80\U00018cd6", "", ""], "", 10, 17)  # a wide character where a line ends
@given(st.lists(st.text(max_size=300), max_size=8), st.text(max_size=300), st.integers(10, 200), st.integers(1, 60))
def test_what_counts_as_read_was_on_the_screen(summaries, message, width, height):
    watch = Watch()
    watch.update([approval(str(index), text) for index, text in enumerate(summaries)], -ARMED_AFTER_MS)
    watch.message = Text(visible_text(message))
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    console.print(draw(watch, console))
    lines = console.export_text().splitlines()
    if watch.press("approve", 0) is not None:
        assert len(lines) <= height
        shown = "".join(line.rstrip("\n") for line in lines).replace(" ", "")
        assert visible_text(summaries[0] or "note_add 0").replace(" ", "") in shown


def test_nothing_selected_decides_nothing():
    watch = Watch()
    watch.update([], 0)
    assert [watch.press(key, 10_000) for key in ("approve", "deny", "up", "down", "more")] == [None] * 5


@given(st.text() | st.text("\u4e00a ", min_size=1), st.integers(2, 200))
def test_wrapping_drops_nothing_an_approver_must_see_and_every_line_fits(text, width):
    lines = wrap(text, width)
    assert "".join(lines) == visible_text(text)
    assert all(line.isprintable() and cell_len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"a", ["approve"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA\x1bOB", ["up", "down"]),
        (b"kjq", ["up", "down", "quit"]),
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
    ],
)
def test_keys_are_what_the_terminal_sent(data, keys):
    assert split_keys(data) == keys


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
