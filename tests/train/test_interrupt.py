"""Signals become a flag; the second Ctrl-C is final; former handlers come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from camelid.train.interrupt import Interrupted, Interrupts

LOOP = """
import sys, time
from camelid.train.interrupt import Interrupts
with Interrupts() as interrupts:
    print("ready", flush=True)
    for micro_batch in range(2000):
        if interrupts.requested:
            print("saved", flush=True)
            break
        time.sleep(0.01)
sys.exit(interrupts.exit_code)
"""
STUBBORN = """
import sys, time
from camelid.train.interrupt import Interrupts
with Interrupts() as interrupts:
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
"""


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_sets_the_flag_and_the_exit_code(number: signal.Signals, code: int) -> None:
    with Interrupts(notice="") as interrupts:
        assert not interrupts.requested
        assert interrupts.exit_code == 0
        interrupts.check()
        os.kill(os.getpid(), number)
        assert interrupts.requested
        assert interrupts.exit_code == code
        with pytest.raises(Interrupted) as caught:
            interrupts.check()
    assert caught.value.exit_code == code
    assert interrupts.exit_code == code  # still there after the block, for the exit


def test_the_second_ctrl_c_stops_at_once_but_not_an_echo_of_the_first() -> None:
    clock = Clock()
    with Interrupts(notice="", clock=clock) as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        clock.now += 0.1
        os.kill(os.getpid(), signal.SIGINT)  # torchrun passing it on
        assert interrupts.requested
        clock.now += 1.0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # a third one needs no Python to work


def test_ctrl_c_after_sigterm_stops_at_once_and_a_repeated_sigterm_does_not() -> None:
    clock = Clock()
    with Interrupts(notice="", clock=clock) as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        clock.now += 60
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.exit_code == 143
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_come_back_also_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def fail() -> None:
        with Interrupts(notice=""):
            assert signal.getsignal(signal.SIGTERM) is not before[1]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_entering_again_starts_clean() -> None:
    interrupts = Interrupts(notice="")
    with interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
    with interrupts:
        assert not interrupts.requested


def test_outside_the_main_thread_it_says_so() -> None:
    errors: list[Exception] = []

    def enter() -> None:
        try:
            with Interrupts():
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_a_notice_tells_what_happens_next(capfd: pytest.CaptureFixture[str]) -> None:
    with Interrupts():
        os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err == "\nCtrl-C: saving a checkpoint, then stopping (Ctrl-C again: stop at once)\n"


def run(program: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_process_saves_and_exits_with_the_code(number: signal.Signals, code: int) -> None:
    process = run(LOOP)
    process.send_signal(number)
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "saved\n")
    assert "saving a checkpoint" in error
    assert "Traceback" not in error


def test_a_process_that_does_not_poll_ends_at_the_second_ctrl_c() -> None:
    process = run(STUBBORN)
    process.send_signal(signal.SIGINT)
    time.sleep(0.7)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGINT, 130)


def test_the_end_of_standard_input_is_a_sigterm() -> None:
    """As where the program that started this one was killed."""
    attached = LOOP.replace(
        "with Interrupts()", "from camelid.train.interrupt import stop_at_end_of_input\nwith Interrupts()"
    )
    attached = attached.replace('    print("ready"', '    stop_at_end_of_input()\n    print("ready"')
    with subprocess.Popen([sys.executable, "-c", attached], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.stdin.write(b"nothing that ends it\n")
        child.stdin.flush()
        time.sleep(0.2)
        assert child.poll() is None
        child.stdin.close()
        assert child.stdout.read() == b"saved\n"
    assert child.returncode == 143
