"""gates: every gate of a live mount, and who is held there."""

import argparse
import json

from fusefs.commands.gate_client import ask
from fusefs.gates import Answer, held_text

HELP = "show the gates of a live mount, and who is held there since when"
EPILOG = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint")
    parser.add_argument("--json", action="store_true")


def run(arguments: argparse.Namespace) -> int:
    gates = ask(arguments.mountpoint, "list")
    if arguments.json:
        print(json.dumps(gates, indent=2))
        return 0
    for gate in gates:
        print("\n".join(_lines(gate)))
    return 0


def _lines(gate: Answer) -> list[str]:
    before = gate["released_before"]
    lines = [
        f"{gate['name']}: {gate['gate']}",
        f"    met {gate['met']}; holds {gate['left']} more; goes with the {gate['owner']}"
        + (f"; released beforehand: {before}" if before else ""),
    ]
    lines += [f"    held: {held_text(each)}, for {each['held_s']:.1f} s" for each in gate["held"]]
    return lines + ([f"    last: {gate['said']}"] if gate["said"] else [])
