"""The gates of a mount: who is held before which step, since when, and what lets him go.

    hold()         a new gate, from its line
    wait()         be told when somebody is held there
    release()      let go who is held, or the next one that comes
    arrives()      a request stands before a step: is it held?
    passes()       a request was granted a step: whoever awaits that goes on
    waits()        a request waits for another one; forget_waits(): nobody tells so any longer
    expire()       what has taken its time

A gate holds as many requests as it was asked for, and is over when the last of them has gone on.
A request that several gates hold goes on when all of them have let it go.

Units: times are seconds, on the clock of whoever calls.
Errors: GateError, one line and an errno.
Invariants:
    (U1) who is held goes on: released, awaited in vain, interrupted, or at the time-out;
    (U2) a release is of those who are held, or else of the next one that comes: none is lost;
    (U3) nobody is held for somebody who waits for him, since before there was a gate, or because
         what he waits for was handed over, as well.
"""

import errno
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fusefs.engine.gate import Asked, Find, GateError, parse_hold, shown
from fusefs.engine.held import Gate, Hold, Watch
from fusefs.engine.task import BEGIN
from fusefs.engine.waits import Waits, could_pass
from fusefs.model.steps import Waiter

GATES_MAX: Final = 1000
WATCHES_MAX: Final = 1000
OVER_MAX: Final = 100
"""Gates that are over, of which it is remembered how they ended."""

ALL: Final = "all"


class Gates:
    """All of a mount.

    let_go is called with the number of a request that is held no longer; say with a line for the
    log.  steps are those before which somebody may be held, and operations those without steps
    that gates name: two sets, in which they change.
    """

    def __init__(self, let_go: Callable[[int], None], say: Callable[[str], None]) -> None:
        self.steps: set[str] = set()
        self.operations: set[str] = set()
        self._let_go = let_go
        self._say = say
        self._gates: dict[str, Gate] = {}
        self._held: dict[int, int] = {}
        self._watches: list[Watch] = []
        self._waits = Waits()
        self._over: OrderedDict[str, str] = OrderedDict()
        self._arriving = 0
        self._named = 0

    @property
    def is_idle(self) -> bool:
        """There is no gate, and so nobody is held."""
        return not self._gates

    # -- commands ----------------------------------------------------------------------

    def hold(self, words: list[str], owner: int, find: Find) -> Gate:
        """A gate from what follows the word hold; find gives the number of a path."""
        text = parse_hold(words, find, self._new_name)
        if text.name in self._gates:
            raise GateError(f"there is a gate {text.name} already", errno.EEXIST)
        if len(self._gates) >= GATES_MAX:
            raise GateError(f"there are {GATES_MAX} gates, and no more", errno.ENOSPC)
        gate = self._gates[text.name] = Gate(text, owner)
        self._over.pop(text.name, None)
        self._note_steps()
        return gate

    def _new_name(self) -> str:
        while True:
            self._named += 1
            if f"g{self._named}" not in self._gates:
                return f"g{self._named}"

    def wait(
        self, name: str, timeout_s: float, told: Callable[[Hold | GateError], None], now: float
    ) -> Watch:
        """Tell of the first who is held there, at once if somebody is."""
        gate = self._gate(name)
        if len(self._watches) >= WATCHES_MAX:
            raise GateError(f"{WATCHES_MAX} wait already, and no more may", errno.ENOSPC)
        watch = Watch(gate, now + timeout_s, told)
        if gate.holding:
            told(next(iter(gate.holding.values())))
            return watch
        self._watches.append(watch)
        for waiting in self._waits.waiting():
            self._check_watches(waiting)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Whoever waited does so no longer."""
        if watch in self._watches:
            self._watches.remove(watch)

    def release(self, name: str) -> None:
        """(U2) Let go whom a gate holds, or the next one; of all: take all gates away."""
        if name == ALL:
            for gate in list(self._gates.values()):
                self._remove(gate, "released with all others")
            return
        gate = self._gate(name)
        if not gate.holding:
            gate.latched += 1
        for number in list(gate.holding):
            self._end_hold(gate, number, "released")

    def drop_owner(self, owner: int) -> None:
        """Whoever opened the file for these has closed it, or has ended."""
        for gate in [each for each in self._gates.values() if each.owner == owner]:
            self._remove(gate, "it went with whoever had set it")

    def reports(self, now: float) -> list[dict[str, object]]:
        """Every gate: what it waits for, how often it was met, who is held, since when."""
        return [gate.report(now) for gate in self._gates.values()]

    def _gate(self, name: str) -> Gate:
        gate = self._gates.get(name)
        if gate is not None:
            return gate
        if name in self._over:
            raise GateError(f"gate {shown(name)} is over: {self._over[name]}", errno.ENOENT)
        known = ", ".join(list(self._gates)[:10]) or "none"
        raise GateError(f"no gate '{shown(name)}': there are {known}", errno.ENOENT)

    # -- requests ----------------------------------------------------------------------

    def arrives(self, asked: Asked, now: float) -> bool:
        """A request stands before a step; whether it is held there."""
        number = asked.request.number
        self._arriving = number
        for gate in list(self._gates.values()):
            if asked.step in gate.steps and gate.text.holds(asked):
                self._meets(gate, asked, now)
        if number in self._held:
            self._check_hold(asked)
        self._arriving = 0
        is_held = number in self._held
        if not is_held and asked.step == BEGIN.name:
            self.passes(asked)
        return is_held

    def _meets(self, gate: Gate, asked: Asked, now: float) -> None:
        gate.met += 1
        if gate.left == 0:
            return
        if gate.left is not None:
            gate.left -= 1
        if gate.latched:
            gate.latched -= 1
            gate.said = f"{asked} passed, as it was released before it came"
            self._end_if_over(gate)
            return
        number = asked.request.number
        hold = gate.holding[number] = Hold(asked, now, now + gate.text.timeout_s)
        self._held[number] = self._held.get(number, 0) + 1
        for watch in [each for each in self._watches if each.gate is gate]:
            self._watches.remove(watch)
            watch.told(hold)

    def passes(self, asked: Asked) -> None:
        """A request was granted a step: it is what somebody may be held until."""
        for gate in [each for each in self._gates.values() if asked.step in each.until]:
            for number, hold in list(gate.holding.items()):
                if number != asked.request.number and gate.awaits(hold, asked):
                    self._end_hold(gate, number, f"{asked} has passed {asked.step}")
        self._look_again()

    def waits(self, asked: Asked, waiter: Waiter) -> None:
        """A request waits for what another one has, waiter.owner, until it is woken."""
        self._waits.waits(asked, waiter)
        self._look_again()

    def goes_on(self, number: int) -> None:
        """What it waited for is there."""
        self._waits.goes_on(number)

    def forget_waits(self) -> None:
        """From now on nobody tells who waits."""
        self._waits.clear()

    def forget(self, number: int) -> None:
        """Whoever is held is answered otherwise, and is not let go."""
        if self._held.pop(number, None) is None:
            return
        for gate in [each for each in self._gates.values() if number in each.holding]:
            hold = gate.holding.pop(number)
            gate.said = f"{hold.asked} was interrupted before {hold.asked.step}"
            self._end_if_over(gate)

    def is_held(self, number: int) -> bool:
        return number in self._held

    # -- those who wait for whom they hold up ------------------------------------------

    def _look_again(self) -> None:
        """(U3) Somebody waits from now on, or what he waits for was handed over to another one."""
        if self._waits.has_moved():
            self._check_all_waiting()

    def _check_all_waiting(self) -> None:
        for waiting in self._waits.waiting():
            self._check_waiting(waiting)
            self._check_watches(waiting)

    def _check_hold(self, asked: Asked) -> None:
        """(U3) Of one who is held from now on."""
        self._check_all_waiting()
        number = asked.request.number
        for gate in [each for each in self._gates.values() if number in each.holding]:
            other = self._awaits_each_other(gate, asked)
            if other is not None:
                why = f"{other}, which it awaits, is itself held until {asked} goes on"
                self._end_in_vain(gate, number, why)

    def _awaits_each_other(self, gate: Gate, asked: Asked) -> Asked | None:
        """The one that this one is held for, and that is held for this one."""
        if not gate.until or gate.text.awaited.pid is None:
            return None
        number = asked.request.number
        awaited = gate.awaited(gate.holding[number])
        for other in self._gates.values():
            if other.until and other.text.awaited.pid is not None:
                for hold in other.holding.values():
                    if hold.asked.request.number == number:
                        continue
                    if awaited.meets(hold.asked) and other.awaited(hold).meets(asked):
                        return hold.asked
        return None

    def _check_waiting(self, waiting: Asked) -> None:
        """(U3) Who is held until this one passes a step, and has what it waits for, goes on."""
        owner = self._waits.last(waiting.request.number)
        if owner not in self._held:
            return
        for gate in [each for each in self._gates.values() if owner in each.holding]:
            if gate.until and could_pass(gate.until, gate.awaited(gate.holding[owner]), waiting):
                why = f"{waiting}, which it awaits, waits for it, before {waiting.step}"
                self._end_in_vain(gate, owner, why)

    def _check_watches(self, waiting: Asked) -> None:
        """Nobody waits for a hold of one who waits for one that is held."""
        owner = self._waits.last(waiting.request.number)
        if owner not in self._held:
            return
        for watch in list(self._watches):
            if could_pass(watch.gate.steps, watch.gate.text.who, waiting):
                self._watches.remove(watch)
                line = (
                    f"gate {watch.gate.text.name}: {waiting}, which would come there, waits before"
                    f" {waiting.step} for request {owner}, which is held"
                )
                watch.told(GateError(line, errno.EDEADLK))

    def _end_in_vain(self, gate: Gate, number: int, why: str) -> None:
        self._say(f"gate {gate.text.name}: {gate.holding[number].asked} goes on: {why}")
        self._end_hold(gate, number, why)

    # -- ends --------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When expire() has something to do; None if nobody is held, and nobody waits."""
        holds = [hold.deadline for gate in self._gates.values() for hold in gate.holding.values()]
        return min([*holds, *(watch.deadline for watch in self._watches)], default=None)

    def expire(self, now: float) -> None:
        """(U1) Let go whose time is up."""
        for gate in list(self._gates.values()):
            for number, hold in list(gate.holding.items()):
                if hold.deadline <= now:
                    why = f"{hold.asked} was held before {hold.asked.step} for its time-out"
                    self._say(f"gate {gate.text.name}: {why}")
                    self._end_hold(gate, number, why)
        for watch in [each for each in self._watches if each.deadline <= now]:
            self._watches.remove(watch)
            line = f"gate {watch.gate.text.name}: nobody came while somebody waited for it"
            watch.told(GateError(line, errno.ETIMEDOUT))

    def _end_hold(self, gate: Gate, number: int, why: str) -> None:
        del gate.holding[number]
        gate.said = why
        self._end_if_over(gate)
        self._held[number] -= 1
        if self._held[number]:
            return
        del self._held[number]
        if number != self._arriving:
            self._let_go(number)

    def _end_if_over(self, gate: Gate) -> None:
        if gate.is_over:
            self._remove(gate, gate.said)

    def _remove(self, gate: Gate, why: str) -> None:
        if self._gates.pop(gate.text.name, None) is None:
            return
        self._over[gate.text.name] = why
        if len(self._over) > OVER_MAX:
            self._over.popitem(last=False)
        self._note_steps()
        for number in list(gate.holding):
            self._end_hold(gate, number, why)
        for watch in [each for each in self._watches if each.gate is gate]:
            self._watches.remove(watch)
            watch.told(GateError(f"gate {gate.text.name} is over: {why}", errno.ENOENT))

    def _note_steps(self) -> None:
        """BEGIN is no event, so that only whoever is asked there hears of it."""
        self.steps.clear()
        self.operations.clear()
        for gate in self._gates.values():
            self.steps |= gate.steps | (gate.until & {BEGIN.name})
            self.operations |= gate.at_once
