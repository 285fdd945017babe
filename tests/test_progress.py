"""Progress: shown after its time, on a terminal, in the thread that asked for it, and nowhere else."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr

import pytest

from tgvae import progress
from tgvae.progress import showing, step, track


class Terminal(io.StringIO):
    """What a person would see of standard error."""

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal, and a short delay."""
    monkeypatch.setattr(progress, "DELAY", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


@contextmanager
def showing_at(file: io.StringIO, on: bool = True) -> Iterator[None]:
    """As on a command line with this as standard error."""
    with redirect_stderr(file), showing(on):
        yield


def until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not seen() and time.monotonic() < end:
        time.sleep(0.01)
    assert seen()


def test_a_long_step_is_shown_and_then_gone(terminal: Terminal) -> None:
    with showing_at(terminal):
        assert list(track(waiting(terminal, "counting", [1, 2, 3]), "counting", 3)) == [1, 2, 3]
    assert "0/3" in terminal.shown
    assert terminal.getvalue().rindex("\x1b[2K") > terminal.getvalue().rindex("counting"), "its line is cleared"
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l"), "the cursor is back"


def waiting(terminal: Terminal, what: str, items: list[int]):  # type: ignore[no-untyped-def]
    """The items, the first once this is on the screen."""
    until(lambda: what in terminal.shown)
    yield from items


def test_the_time_left_is_told(terminal: Terminal) -> None:
    with showing_at(terminal), step("walking", 1000) as advance:
        until(lambda: "walking" in terminal.shown)
        for _ in range(10):
            advance()
            time.sleep(0.03)
        until(lambda: re.search(r"\d+/1000 0:\d\d:\d\d left 0:\d\d:\d\d", terminal.shown) is not None)


def test_a_step_within_a_step_has_a_line_of_its_own(terminal: Terminal) -> None:
    with showing_at(terminal), step("outer"), step("inner [half] a word", 2):
        until(lambda: "outer" in terminal.shown and "inner [half] a word" in terminal.shown)


def test_what_is_quick_shows_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY", 60.0)
    with showing_at(terminal), step("quick"):
        assert sum(track(range(4), "counting")) == 6
    assert terminal.getvalue() == ""
    until(lambda: not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)])


def test_nothing_is_shown_unless_asked_for(terminal: Terminal) -> None:
    with redirect_stderr(terminal), step("in a library"):
        time.sleep(0.15)
    with showing_at(terminal), showing(False), step("in a server"):
        time.sleep(0.15)
    assert terminal.getvalue() == ""


def test_nothing_is_shown_for_another_thread(terminal: Terminal) -> None:
    def work() -> None:
        with step("beside"):
            time.sleep(0.15)

    with showing_at(terminal):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("where", ["a pipe", "the second process"])
def test_nothing_is_shown_elsewhere(where: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO() if where == "a pipe" else terminal
    if where == "the second process":
        monkeypatch.setenv("RANK", "1")
    with showing_at(file), step("alone"):
        time.sleep(0.15)
    assert file.getvalue() == ""


def test_an_error_passes_and_leaves_the_screen_clean(terminal: Terminal) -> None:
    def fail() -> None:
        with showing_at(terminal), step("failing"):
            until(lambda: "failing" in terminal.shown)
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")
    with showing_at(terminal), step("again"):
        until(lambda: "again" in terminal.shown)


def test_items_are_taken_one_by_one() -> None:
    taken = []

    def items():  # type: ignore[no-untyped-def]
        for number in range(3):
            taken.append(number)
            yield number

    for number in track(items(), "lazily"):
        assert taken[-1] == number


def test_a_terminal_that_cannot_move_its_cursor_gets_nothing(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with showing_at(terminal), step("plain"):
        time.sleep(0.15)
    assert terminal.getvalue() == ""


def test_nothing_is_shown_any_more_when_an_error_is_told(terminal: Terminal) -> None:
    held = waiting(terminal, "counting", [1, 2, 3])
    with showing_at(terminal):
        items = track(held, "counting", 3)  # as a traceback holds it
        next(items)
    seen = terminal.getvalue()
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l"), "the cursor is back"
    assert [*items] == [2, 3]
    assert terminal.getvalue() == seen
