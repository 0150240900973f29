"""Progress: the figures are right, and each view shows them where it should."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camelid.runs.memory import peak_memory_bytes
from camelid.runs.progress import Figures, Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def progress(view: str = "lines", every: int = 10) -> tuple[Progress, Clock, io.StringIO]:
    clock, stream = Clock(), io.StringIO()
    return Progress(view, every=every, stream=stream, clock=clock), clock, stream  # pyright: ignore[reportArgumentType]


def test_speed_and_time_left_are_over_the_last_steps_and_leave_out_evaluations() -> None:
    shown, clock, _ = progress()
    shown.start(100, first_step=40)
    figures = None
    for step in range(41, 71):
        clock.now += 10.0 if step < 50 else 2.0  # a slow start, long ago
        figures = shown.update(step, 1.0, useful_tokens=300, computed_tokens=200)
        with shown.aside():
            clock.now += 30.0
    assert figures is not None
    assert figures.useful_per_s == pytest.approx(150)
    assert figures.computed_per_s == pytest.approx(100)
    assert figures.left_s == pytest.approx(30 * 2.0)
    assert figures.memory_bytes == pytest.approx(peak_memory_bytes(), rel=0.2)


def test_lines_come_first_every_nth_last_and_for_broken_losses() -> None:
    shown, clock, stream = progress()
    with shown:
        shown.start(25)
        for step in range(1, 24):
            clock.now += 1
            shown.update(step, float("nan") if step == 13 else 2.0, useful_tokens=7, memory_bytes=3 << 30)
        shown.note("checkpoint\nsaved [bold]")
    lines = stream.getvalue().splitlines()
    steps = [match[1] for line in lines if (match := re.match(r"step +(\d+)/25 · ", line))]
    assert steps == ["1", "10", "13", "20", "23"]
    assert "loss nan" in lines[2]
    assert lines[0] == "step  1/25 · loss 2.000 · 7.0 useful tok/s · 3.0 GiB · 24 s left"
    assert "checkpoint saved [bold]" in lines


def test_silent_shows_notes_alone() -> None:
    shown, clock, stream = progress("silent")
    with shown:
        shown.start(2)
        for step in (1, 2):
            clock.now += 1
            assert shown.update(step, 1.0).step == step
        shown.note("fell back to step-1")
    assert stream.getvalue() == "fell back to step-1\n"


def test_the_bar_shows_text_as_it_is() -> None:
    shown, clock, stream = progress("bar")
    with shown:
        shown.start(2)
        clock.now += 1
        shown.update(1, 1.5, eval_loss=1.25)
        shown.note("[red]断点[/red] \x1b]0;title\x07")
    assert "1/2" in stream.getvalue()
    assert "loss 1.500 · eval 1.250" in stream.getvalue()
    assert "[red]断点[/red]" in stream.getvalue()
    assert "\x1b]0;" not in stream.getvalue()


def test_without_a_terminal_there_are_lines_and_standard_output_stays_clean() -> None:
    program = (
        "from camelid.runs.progress import Progress\n"
        "with Progress() as p:\n    p.start(3)\n    [p.update(i, 1.0) for i in (1, 2, 3)]\n"
        "import sys\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert [line[:8] for line in done.stderr.splitlines()] == ["step 1/3", "step 3/3"]
    assert "\x1b" not in done.stderr


@given(st.integers(8, 200))
def test_figures_fit_and_never_lose_the_loss(limit: int) -> None:
    figures = Figures(10, 20, 1.2345, 1234.0, 999.0, 3 << 30, 3725.0, 1.5)
    text = figures.text(limit)
    assert text.startswith("loss 1.234") or text.startswith("loss 1.235")
    assert len(text) <= max(limit, len("loss 1.234"))
    assert figures.text() == "loss 1.234 · eval 1.500 · 1,234 useful tok/s · 999 computed · 3.0 GiB · 1:02:05 left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.4, "59 s"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (1e6, "277:46:40")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_peak_memory_is_this_process_own(tmp_path: Path) -> None:
    before = peak_memory_bytes()
    block = bytearray(60 << 20)
    block[::4096] = b"x" * len(block[::4096])
    assert peak_memory_bytes() >= max(before, 60 << 20)
    program = "from camelid.runs.memory import peak_memory_bytes; print(peak_memory_bytes())"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 2 << 20 < int(child.stdout) < 60 << 20  # a child does not inherit the peak of its parent
