"""Told to end: SIGTERM and SIGHUP are an exception, as a Ctrl-C is one.

    ended_in_order()    a block that has something to take away, whoever ends it
    uninterrupted()     a block that takes it away: signals wait until it has ended

By default these two end Python at once, without its finally: mounts, their daemons and temporary
folders would stay.

Errors: Ended, anywhere in the block.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """A signal has told us to end; number is its."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


@contextmanager
def ended_in_order() -> Iterator[None]:
    """The first of them is Ended; those that come later interrupt nobody who ends already.

    Who is ignored, as by nohup, stays so, and who has a handler keeps it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_ending = False

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal is_ending
        if not is_ending:
            is_ending = True
            raise Ended(number)

    ours = [each for each in ENDING if signal.getsignal(each) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put SIGINT and those above off until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    signals = (signal.SIGINT, *ENDING)
    handlers = [signal.signal(each, lambda number, _: held.append(number)) for each in signals]
    try:
        yield
    finally:
        for each, handler in zip(signals, handlers, strict=True):
            signal.signal(each, handler)
    for number in held:
        signal.raise_signal(number)
