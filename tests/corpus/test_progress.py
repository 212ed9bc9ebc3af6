"""How long work tells how far it has come."""

from __future__ import annotations

import io

import pytest

from sekd_plugin.progress import StreamProgress, clock, progress_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (0, 200, 1.0, "x  [....................]   0%  0/200  ? left"),
        (50, 200, 10.0, "x  [#####...............]  25%  50/200  0:30 left"),
        (199, 200, 19900.0, "x  [###################.]  99%  199/200  1:40 left"),
        (200, 200, 75.0, "x  200  done in 1:15"),
        (1234, None, 5.0, "x  1,234  0:05 so far"),
    ],
)
def test_a_line_says_how_far_and_how_long(
    done: int, total: int | None, seconds: float, text: str
) -> None:
    assert progress_line("x", done, total, seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3661, "1:01:01")])
def test_a_clock_is_read_as_usual(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_log_gets_plain_lines_and_a_terminal_a_line_drawn_over() -> None:
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        assert list(StreamProgress(stream).track("abc", "letters", 3)) == ["a", "b", "c"]
    assert log.getvalue() == "letters  3  done in 0:00\n"
    assert terminal.getvalue() == "\r\x1b[Kletters  3  done in 0:00\n"


def test_a_broken_off_bar_does_not_share_its_line_with_the_error() -> None:
    terminal = Terminal()

    def items() -> object:
        yield 1
        raise ValueError

    progress = StreamProgress(terminal)
    progress._pause = 0.0
    with pytest.raises(ValueError):
        list(progress.track(items(), "items", 2))  # type: ignore[arg-type]
    assert terminal.getvalue().endswith("left\n")
