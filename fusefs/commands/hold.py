"""hold: hold a request of a live mount before a step."""

import argparse
import time

from fusefs.commands.gate_client import ask, with_gates, words_inside
from fusefs.gates import Gates

HELP = "hold requests of a live mount before a step, until they are released"
EPILOG = """\
STEP is one of the model's (dio.write.convert, as 'trace' shows them), begin, reply, or NAME*.
What may follow it, in any order:

    op=write,read   operations        count=1       how many are held, or all
    pid=N           a thread          timeout=5s    how long at most
    path=FILE       or ino=N          as NAME       what 'wait' and 'release' call it
    range=POS+LEN   bytes of it
    until=STEP      go on when another request of that file has passed STEP;
                    what follows of op=, pid=, path= and range= is about that one

Names, attributes, open and close are held only if op= says so: op=unlink, op=open, op=release.

Its name is printed.  The gate stays with the mount until it has held its count, or until
'release all'; with --own it goes when this command ends, however it does.  docs/gates.md."""

LOOK_S = 0.2
"""Between two looks whether a gate of one's own is over."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument("step", metavar="STEP")
    parser.add_argument("words", nargs="*", metavar="WORD", help="see below")
    parser.add_argument("--own", action="store_true", help="stay, and take the gate along")


def run(arguments: argparse.Namespace) -> int:
    words = [arguments.step, *words_inside(arguments.mountpoint, arguments.words)]
    if arguments.own:
        return _own(arguments.mountpoint, words)
    (gate,) = ask(arguments.mountpoint, f"hold {' '.join(words)} keep")
    print(gate["name"])
    return 0


def _own(mountpoint: str, words: list[str]) -> int:
    """Keep the file open, and the gate with it, until that has held its count."""

    def stay() -> str:
        with Gates(mountpoint) as gates:
            name = gates.hold(*words)
            print(name, flush=True)
            while name in [each["name"] for each in gates.all()]:
                time.sleep(LOOK_S)
        return ""

    with_gates(mountpoint, stay, 0)
    return 0
