"""What answers of searches say of a recorded run.

    Searched    a shape with its answers: one for today's order, one for each era that was asked
    found()     its Finding, if there is one
    folded()    findings that say the same, as one

Two things count: that a rule of litmus files is broken (litmus/test.py, RULES), and that a result,
or what is in the file at the end, is one that today's kernel never leaves: "differs".

A finding's litmus file asks for what its simplest witness ended with, and says which eras show it.

Errors: none.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fusefs.explore.aftermath import Values
from fusefs.explore.answer import DEADLOCK, Answer, Witness
from fusefs.explore.values import UNCACHED
from fusefs.litmus.condition import holds
from fusefs.litmus.test import (
    ALWAYS,
    CACHE,
    DISK,
    EXISTS,
    RESULT,
    SIZE,
    SOMETIMES,
    And,
    Atom,
    Condition,
    Litmus,
    Question,
)
from fusefs.predict.scenario import FILE, NOTHING
from fusefs.predict.shapes import Shape

COHERENCE: Final = "coherence"

DIFFERS: Final = "differs"
"""Beside the rules: a result that today's kernel never gives."""


@dataclass(frozen=True, slots=True)
class Searched:
    """answers are by era; today is among them or not, but asked in any case."""

    shape: Shape
    today: Answer
    answers: Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class Finding:
    """rule is broken, or DIFFERS.

    eras       those that show it, with how often: SOMETIMES or ALWAYS
    sentence   what is wrong, of the simplest witness; "" of DIFFERS
    switches   of that; None if it was not looked for yet
    blocks     the litmus file's blocks that are wrong
    folded     other shapes that say the same
    """

    shape: Shape
    litmus: Litmus
    rule: str
    eras: Mapping[str, str]
    sentence: str
    switches: int | None
    blocks: tuple[int, ...]
    folded: tuple[Shape, ...] = ()

    @property
    def count(self) -> int:
        """How often it came up."""
        return sum(each.count for each in self.shapes)

    @property
    def overlapped_count(self) -> int:
        """In how many of these some of the calls ran beside each other."""
        return sum(each.overlapped_count for each in self.shapes)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return (self.shape, *self.folded)


def found(searched: Searched) -> list[Finding]:
    """One for each rule that is broken; of eras that break none, one for what differs."""
    broken = {era: answer for era, answer in searched.answers.items() if answer.broken}
    findings = [_broken(searched, broken, rule) for rule in rules_of(broken)]
    other = _different(searched, searched.answers.keys() - broken.keys())
    return findings if other is None else [*findings, other]


def _broken(searched: Searched, broken: Mapping[str, Answer], rule: str) -> Finding:
    eras = {
        era: _how_often(answer, answer.broken[rule])
        for era, answer in broken.items()
        if rule in answer.broken
    }
    witnesses = [w for era in eras if (w := broken[era].witness) is not None]
    best = min(
        (each for each in witnesses if rule in dict(each.broken)),
        key=lambda each: each.cost,
        default=None,
    )
    if best is None:  # the simplest of each era breaks another rule
        litmus = _asking(searched, NOTHING, tuple(rules_of(broken)))
        return Finding(searched.shape, litmus, rule, eras, "", None, ())
    condition = NOTHING if rule == DEADLOCK else _ended_so(best.outcome)
    litmus = _asking(searched, condition, tuple(rules_of(broken)))
    blocks = _differing(dict(best.outcome)) if rule == COHERENCE else ()
    sentence = dict(best.broken)[rule]
    return Finding(searched.shape, litmus, rule, eras, sentence, best.cost[1], blocks)


def rules_of(answers: Mapping[str, Answer]) -> list[str]:
    """All that some of them break."""
    return list(dict.fromkeys(rule for answer in answers.values() for rule in answer.broken))


def _how_often(answer: Answer, count: int) -> str:
    """Of a search that was cut off it is not known whether it is always so."""
    return ALWAYS if answer.exhausted and count >= answer.class_count else SOMETIMES


def _ended_so(values: Values) -> Condition:
    """The cache and the disk as a run left them."""
    outcome = dict(values)
    atoms = [Atom(kind, FILE, outcome[kind, FILE]) for kind in (CACHE, DISK)]
    atoms = [each for each in atoms if each.value] or [Atom(SIZE, FILE, outcome[SIZE, FILE])]
    return _all(atoms)


def _all(atoms: Sequence[Atom]) -> Condition:
    condition: Condition = atoms[0]
    for each in atoms[1:]:
        condition = And(condition, each)
    return condition


def _differing(outcome: Mapping[tuple[str, str], str]) -> tuple[int, ...]:
    """Where a cached block is not what the disk has."""
    pairs = zip(outcome[CACHE, FILE], outcome[DISK, FILE], strict=False)
    return tuple(n for n, (held, disk) in enumerate(pairs) if held not in (disk, UNCACHED, "."))


# -- results that today's kernel never gives -------------------------------------------------


def _different(searched: Searched, eras: Collection[str]) -> Finding | None:
    """Of some eras, in their order."""
    if not searched.today.exhausted:
        return None
    known = {_seen(values) for values in searched.today.histogram}
    new = {
        era: [values for values in answer.histogram if _seen(values) not in known]
        for era, answer in searched.answers.items()
        if era in eras
    }
    first = next((values for some in new.values() for values in sorted(some)), None)
    if first is None:
        return None
    condition = _telling(first, [*searched.today.histogram])
    litmus = _asking(searched, condition, ())
    showing = {era: how for era, how in litmus.expected.items() if era in eras}
    return Finding(searched.shape, litmus, DIFFERS, showing, "", None, ())


def _seen(values: Values) -> tuple[object, ...]:
    """What programs can see of an outcome: results, the size, and what a read would find."""
    outcome = dict(values)
    results = tuple((subject, value) for subject, value in values if subject[0] == RESULT)
    cached, disk = outcome.get((CACHE, FILE), ""), outcome.get((DISK, FILE), "")
    content = [
        held if held != UNCACHED else below for held, below in zip(cached, disk, strict=False)
    ]
    return results, "".join(content), outcome.get((SIZE, FILE))


def _telling(values: Values, others: Sequence[Values]) -> Condition:
    """The least that is so in one outcome and in none of the others."""
    atoms = [Atom(kind, subject, value) for (kind, subject), value in values]
    results = [each for each in atoms if each.kind == RESULT]
    for each in results:
        if not any(holds(each, dict(other)) for other in others):
            return each
    for some in (results, atoms):
        if some and not any(holds(_all(some), dict(other)) for other in others):
            return _all(some)
    return _all(atoms)


# -- the litmus file -------------------------------------------------------------------------


def _asking(searched: Searched, condition: Condition, rules: tuple[str, ...]) -> Litmus:
    """The shape's file with this question, and what the answers are."""
    litmus = searched.shape.places[0].scenario.litmus
    expected = {}
    for era, answer in searched.answers.items():
        positive = sum(
            count for values, count in answer.histogram.items() if holds(condition, dict(values))
        )
        if positive:
            expected[era] = _how_often(answer, positive)
    question = Question(EXISTS, condition)
    return replace(litmus, question=question, expected=expected, breaks=rules)


def with_witness(finding: Finding, witness: Witness | None) -> Finding:
    """A finding whose file was asked once more."""
    return finding if witness is None else replace(finding, switches=witness.cost[1])


# -- what says the same ----------------------------------------------------------------------


def folded(findings: Iterable[Finding]) -> list[Finding]:
    """The simplest of each kind, most frequent first.

    Of one kind are findings of one rule whose operations are of the same words and flags; more
    operations tell nothing more of an era that fewer of them show already.
    """
    kept: list[Finding] = []
    for finding in sorted(findings, key=_simplicity):
        for place, other in enumerate(kept):
            if other.rule == finding.rule and _covers(other, finding):
                kept[place] = replace(other, folded=(*other.folded, finding.shape))
                break
        else:
            kept.append(finding)
    return sorted(kept, key=lambda each: (each.shape.call_count, -each.count))


def _simplicity(finding: Finding) -> tuple[int, int, int, int, int]:
    shape = finding.shape
    return (
        shape.call_count,
        shape.page_count,
        finding.switches or 0,
        -shape.overlapped_count,
        -shape.count,
    )


def shown_by(findings: Iterable[Finding], shape: Shape) -> set[str]:
    """Eras that show something with fewer calls of the same kinds."""
    less = [each for each in findings if each.shape.call_count < shape.call_count]
    return {era for each in less if _is_within(each.shape, shape) for era in each.eras}


def _covers(less: Finding, more: Finding) -> bool:
    return less.eras.keys() >= more.eras.keys() and _is_within(less.shape, more.shape)


def _is_within(less: Shape, more: Shape) -> bool:
    """Whether more has calls of all kinds that less has, as many of each."""
    left = [_kind(call.word, call.flags) for call in more.places[0].meeting.calls]
    for call in less.places[0].meeting.calls:
        kind = _kind(call.word, call.flags)
        if kind not in left:
            return False
        left.remove(kind)
    return True


def _kind(word: str, flags: frozenset[str]) -> tuple[str, bool]:
    return word, "direct" in flags
