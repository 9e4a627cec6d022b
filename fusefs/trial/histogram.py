"""What was seen in all runs, in the words of klitmus.

    Test stale-zeros Allowed
    Histogram (2 states)
    12      *>A.r=0;
    988     :>A.r=a;
    Ok

    Witnesses
    Positive: 12, Negative: 988
    Condition exists (A.r = 0) is validated
    Observation stale-zeros Sometimes 12 988
    Time stale-zeros 0.42

A star marks the states that are asked for: those that satisfy the condition of exists and
~exists, and those that do not satisfy that of forall.  Observation counts satisfying states,
whatever the quantifier; of ~exists the positive witnesses are the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fusefs.litmus.condition import atoms, condition_text, holds
from fusefs.litmus.source import format_size
from fusefs.litmus.test import (
    ALWAYS,
    EXISTS,
    FORALL,
    NEVER,
    NOT_EXISTS,
    SOMETIMES,
    Litmus,
    Outcome,
)
from fusefs.trial.letters import FOREIGN

State = tuple[tuple[str, str, str], ...]
"""kind, subject and value of each atom of the condition, in its order."""

KINDS = {EXISTS: "Allowed", NOT_EXISTS: "Forbidden", FORALL: "Required"}


@dataclass(frozen=True, slots=True)
class Histogram:
    """One litmus file, tried in one directory.

    litmus      as large as it was tried: factor times
    counts      how often each state was seen; empty if it was skipped
    skipped     why it was not tried
    foreign     runs that read bytes which nobody wrote into that file
    expected    what the file says of the kernel that the directory is expected to have
    seconds     that the runs took
    """

    litmus: Litmus
    directory: str
    seed: int
    factor: int
    expected: str
    counts: Mapping[State, int] = field(default_factory=dict)
    foreign: int = 0
    skipped: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def positive(self) -> int:
        """Runs that satisfied the condition, whatever the quantifier."""
        return sum(count for state, count in self.counts.items() if self._holds(state))

    @property
    def negative(self) -> int:
        return sum(self.counts.values()) - self.positive

    @property
    def observation(self) -> str:
        if not self.positive:
            return NEVER
        return SOMETIMES if self.negative else ALWAYS

    @property
    def forbidden(self) -> int:
        """Runs that the file's expectation excludes."""
        return {NEVER: self.positive, ALWAYS: self.negative}.get(self.expected, 0)

    @property
    def exit_status(self) -> int:
        return 1 if self.forbidden or self.foreign else 0

    @property
    def is_validated(self) -> bool:
        """Whether what was seen is what the quantifier says."""
        if self.litmus.question.quantifier == EXISTS:
            return self.positive > 0
        return not (self.negative if self.litmus.question.quantifier == FORALL else self.positive)

    def _holds(self, state: State) -> bool:
        outcome = {(kind, subject): value for kind, subject, value in state}
        return holds(self.litmus.question.condition, outcome)

    # -- as text ---------------------------------------------------------------------

    def text(self) -> str:
        """Lines, without a newline at the end."""
        name, question = self.litmus.name, self.litmus.question
        head = f"Test {name} {KINDS[question.quantifier]}"
        if self.skipped:
            return "\n".join([head, *(f"Skipped {name}: {reason}" for reason in self.skipped)])
        witnesses = self.positive, self.negative
        if question.quantifier == NOT_EXISTS:
            witnesses = witnesses[::-1]
        condition = f"{question.quantifier} ({condition_text(question.condition)})"
        return "\n".join(
            [
                head,
                f"Histogram ({len(self.counts)} state{'s' * (len(self.counts) != 1)})",
                *self._states(),
                "Ok" if self.is_validated else "No",
                "",
                "Witnesses",
                f"Positive: {witnesses[0]}, Negative: {witnesses[1]}",
                f"Condition {condition} is {'' if self.is_validated else 'NOT '}validated",
                f"Directory={self.directory}",
                f"Seed={self.seed}",
                *self._scale(),
                f"Observation {name} {self.observation} {self.positive} {self.negative}",
                f"Time {name} {self.seconds:.2f}",
                *self._verdict(),
            ]
        )

    def _states(self) -> list[str]:
        """As klitmus has them, and sorted."""
        is_forall = self.litmus.question.quantifier == FORALL
        lines = []
        for state, count in sorted(self.counts.items()):
            mark = "*" if self._holds(state) != is_forall else ":"
            values = " ".join(
                f"{f'{kind} {subject}'.strip()}={value};" for kind, subject, value in state
            )
            lines.append(f"{count:<8}{mark}>{values}")
        return lines

    def _scale(self) -> list[str]:
        machine = self.litmus.machine
        if self.factor == 1:
            return []
        shown = [format_size(size) for size in (machine.page // self.factor, machine.page)]
        return [f"Scale={self.factor}: page {shown[0]} is tried as {shown[1]}"]

    def _verdict(self) -> list[str]:
        runs = self.positive + self.negative
        lines = []
        if self.foreign:
            lines.append(f"Foreign: {self.foreign} of {runs} runs read what nobody wrote there")
        if self.forbidden:
            lines.append(f"Unexpected: {self.forbidden} of {runs} runs; expected: {self.expected}")
        return lines or [f"Seen in {runs} runs: what was not seen may happen all the same"]

    # -- as JSON ---------------------------------------------------------------------

    def report(self) -> dict[str, object]:
        """All of it, in words and numbers."""
        return {
            "name": self.litmus.name,
            "directory": self.directory,
            "seed": self.seed,
            "scale": self.factor,
            "runs": self.positive + self.negative,
            "skipped": list(self.skipped),
            "observation": None if self.skipped else self.observation,
            "expected": self.expected,
            "positive": self.positive,
            "negative": self.negative,
            "foreign": self.foreign,
            "histogram": [
                {
                    "outcome": {f"{kind} {name}".strip(): value for kind, name, value in state},
                    "runs": count,
                    "positive": self._holds(state),
                }
                for state, count in sorted(self.counts.items())
            ],
            "seconds": round(self.seconds, 3),
        }


def state_of(litmus: Litmus, outcome: Outcome) -> State:
    """What the condition asks for, of an outcome."""
    asked = {(atom.kind, atom.subject): None for atom in atoms(litmus.question.condition)}
    return tuple((kind, subject, outcome[kind, subject]) for kind, subject in asked)


def has_foreign_bytes(outcome: Outcome) -> bool:
    """A rule of every run, asked for or not: no byte is read that nobody wrote into that file."""
    return any(FOREIGN in value for value in outcome.values())
