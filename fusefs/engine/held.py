"""One gate at work: whom it holds, since when, and who waits for that.

    Hold     a request before a step
    Gate     what its line says, and what has come of it
    Watch    somebody who waits until it holds one

Units: times are seconds, on the clock of whoever calls.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fusefs.engine.gate import AT_ONCE, EVERY, Asked, GateError, GateText, Who, spares, steps

MOUNT: Final = 0
"""Owns a gate that goes with the mount alone."""


class Hold:
    """A request that a gate holds, until its deadline at the latest."""

    __slots__ = ("asked", "deadline", "since")

    def __init__(self, asked: Asked, since: float, deadline: float) -> None:
        self.asked = asked
        self.since = since
        self.deadline = deadline

    def report(self, now: float) -> dict[str, object]:
        request = self.asked.request
        return {
            "request": request.number,
            "operation": request.operation,
            "pid": request.pid,
            "ino": request.ino,
            "step": self.asked.step,
            "pos": self.asked.pos or request.pos,
            "length": self.asked.length or request.length,
            "held_s": round(now - self.since, 3),
        }


class Gate:
    """met counts all that came by; left says how many more are held, None for all.

    latched are releases that came before whom they are for; said is how a hold ended last.
    """

    def __init__(self, text: GateText, owner: int) -> None:
        self.text = text
        self.owner = owner
        self.steps = steps(text.step)
        self.until = steps(text.until) if text.until else frozenset[str]()
        self.met = 0
        self.left = text.count
        self.latched = 0
        self.holding: dict[int, Hold] = {}
        self.said = ""

    @property
    def is_over(self) -> bool:
        return self.left == 0 and not self.holding

    def awaited(self, hold: Hold) -> Who:
        """Whom a hold waits for; of the held one's file, if nothing else is said."""
        who = self.text.awaited
        return who if who.ino is not None else replace(who, ino=hold.asked.request.ino)

    def awaits(self, hold: Hold, asked: Asked) -> bool:
        """Whether a hold waits for one who passes such a step."""
        who, held, other = self.text.awaited, hold.asked.request, asked.request
        if who.ino is None and not {*held.inos} & {*other.inos}:
            return False
        return who.meets(asked) and not spares(self.text.until, who, asked)

    @property
    def at_once(self) -> set[str]:
        """Operations without steps whose beginning or reply it is about."""
        named = self.text.who.operations if self.steps & EVERY else ()
        awaited = self.text.awaited.operations if self.until & EVERY else ()
        return {*AT_ONCE} & {*named, *awaited}

    def report(self, now: float) -> dict[str, object]:
        return {
            "name": self.text.name,
            "gate": str(self.text),
            "owner": "mount" if self.owner == MOUNT else "open file",
            "met": self.met,
            "left": "all" if self.left is None else self.left,
            "released_before": self.latched,
            "held": [hold.report(now) for hold in self.holding.values()],
            "said": self.said,
        }


class Watch:
    """Somebody who waits at a gate; told gets the first who is held there, or why nobody is."""

    def __init__(
        self, gate: Gate, deadline: float, told: Callable[[Hold | GateError], None]
    ) -> None:
        self.gate = gate
        self.deadline = deadline
        self.told = told
