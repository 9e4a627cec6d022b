"""What tests of the looks share: made-up looks, and those of a kernel that were recorded once.

    look()       a file at one moment
    both()       a program's two runs, from what each look is
    recorded()   by the program's seed, what Linux 6.18's XFS did of it, in blocks of 1 KiB

`python -m conform.looking`, in tests, records anew: root, loop devices and mkfs.xfs.
"""

import json
from dataclasses import asdict
from pathlib import Path

from fusefs.conform.comparing import Compared, compare, with_results
from fusefs.conform.disk import disk
from fusefs.conform.observed import FileLook, Observed
from fusefs.conform.on_kernel import run_on_kernel
from fusefs.conform.programs import program
from fusefs.litmus.parse import parse
from fusefs.litmus.test import Litmus

LOOKS = Path(__file__).parent / "recorded" / "looks.json"

BLOCK = 1024

SEEDS = (0, 1, 2, 3, 4, 5, 6, 19, 28, 42, 43, 59, 93)
"""Some tell orders of the past from today's."""


def look(size: int = 0, map: str = "", pages: str = "", allocated: int | None = None) -> FileLook:
    held = sum(state != "." for state in map) * BLOCK
    return FileLook(size, held if allocated is None else allocated, map, pages)


def program_of(*operations: str, file: str = "f 0", readahead: str = "off") -> Litmus:
    """One task, one file."""
    lines = ["litmus made", "page 4k", "block 1k", f"readahead {readahead}", f"file {file}", "A:"]
    lines += [f"    {each}" for each in operations]
    return with_results(parse("\n".join([*lines, "exists size f = 0"]), "made"))


def compared(
    litmus: Litmus, kernel: list[FileLook], model: list[FileLook], kind: str = "xfs"
) -> Compared:
    """All results are alike."""
    results = ("0",) * len(litmus.tasks[0].operations)
    one, other = (
        Observed(results, tuple({"f": each} for each in looks)) for looks in (kernel, model)
    )
    return compare(litmus, one, other, kind)


def of_seed(seed: int) -> Litmus:
    return with_results(program(seed, block=BLOCK))


def recorded() -> dict[int, Observed]:
    found = json.loads(LOOKS.read_text())
    return {int(seed): _observed(each) for seed, each in found.items()}


def _observed(stored: dict) -> Observed:
    looks = tuple(
        each and {name: FileLook(**fields) for name, fields in each.items()}
        for each in stored["looks"]
    )
    return Observed(tuple(stored["results"]), looks)


def record() -> None:
    found = {}
    with disk("xfs", BLOCK) as made:
        made.set_readahead(0)
        for seed in SEEDS:
            seen = run_on_kernel(of_seed(seed), made.path, seed + 1)
            looks = [
                each and {name: asdict(file) for name, file in each.items()} for each in seen.looks
            ]
            found[seed] = {"results": seen.results, "looks": looks}
    LOOKS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    record()
