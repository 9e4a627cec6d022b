"""explore: a litmus test in the words of one command line."""

import argparse
import signal
from collections.abc import Sequence

from fusefs.commands.errors import UsageError
from fusefs.commands.litmus import add_search_arguments, asked_of

NAME = "explore"
HELP = "ask what a few operations can do to each other, in the words of a litmus file"
EPILOG = """\
Each TASK is a process: its operations, with ; between.  A TEXT that begins with page, block, file
and the like is a line of the machine (page 4k, block 512, file f 4k unwritten), and one that begins
with exists, ~exists or forall is the question.  Without a question it is looked for rules that are
broken.

    explore 'pwrite f 0 512 a direct; r = pread f 0 512' 'pread f 512 512' 'exists A.r = 0'

Exit status: 0 exists is answered Never (forall Always) wherever it is asked, and today breaks no
rule; 1 not so; 2 usage.
docs/litmus.md has all that can be said."""

MACHINE = {"page": "page 4k", "block": "block 512", "file": "file f 4k unwritten"}
"""What is meant where nobody says anything else."""

BUG = "linux-4.10"
"""The era that is asked about where none is named, and today."""

TASK_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("texts", nargs="+", metavar="TEXT", help="a TASK, a line, or the question")
    parser.add_argument("--print", action="store_true", help="print the litmus file instead")
    add_search_arguments(parser, f"{BUG} and today")


def run(arguments: argparse.Namespace) -> int:
    from fusefs.commands import litmus_text
    from fusefs.litmus.text import text
    from fusefs.model.orders import TODAY

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to clean up, and coroutines anywhere
    source = text_of(arguments.texts)
    litmus = litmus_text.read(source, NAME)
    if arguments.print:
        print(text(litmus), end="")
        return 0
    arguments.era = arguments.era or [BUG, TODAY]
    return asked_of([(NAME, source, litmus)], arguments)


def text_of(texts: Sequence[str]) -> str:
    """The litmus file that is meant; UsageError if that cannot be told."""
    from fusefs.litmus.machine import WORDS
    from fusefs.litmus.parse import QUANTIFIERS
    from fusefs.litmus.test import RULES

    lines, tasks, questions = [], [], []
    for text in texts:
        words = text.split()
        if words[:1] and words[0] in WORDS:
            lines.append(" ".join(words))
        elif words[:1] and words[0] in QUANTIFIERS:
            questions.append(" ".join(words))
        else:
            tasks.append([each.strip() for each in text.split(";") if each.strip()])
    if not 0 < len(tasks) <= len(TASK_NAMES) or len(questions) > 1:
        raise UsageError(f"one question and 1 to {len(TASK_NAMES)} tasks; see 'explore --help'")
    said = {line.split()[0] for line in lines}
    lines = [*(MACHINE[word] for word in MACHINE if word not in said), *lines]
    lines.sort(key=lambda line: line.startswith("file"))  # which need the sizes
    for name, operations in zip(TASK_NAMES, tasks, strict=False):
        lines += [f"{name}:", *(f"    {each}" for each in operations)]
    question = questions[0] if questions else _of_rules(lines)
    breaks = f"breaks {' '.join(RULES)}"  # which kernels of the past may, and today's may not
    return "\n".join([f"litmus {NAME}", *lines, question, breaks, ""])


def _of_rules(lines: Sequence[str]) -> str:
    """A question that is fulfilled only where a rule is broken: nobody's bytes and no others."""
    from fusefs.commands import litmus_text
    from fusefs.litmus.reach import blocks_max

    name = next(line.split()[1] for line in [*lines, MACHINE["file"]] if line[:5] == "file ")
    asked = "\n".join([f"litmus {NAME}", *lines, f"exists size {name} = 0", ""])
    count = blocks_max(litmus_text.read(asked, NAME), name)
    return f"exists disk {name} = {'?' * count}" if count else f"exists ~(size {name} = 0)"
