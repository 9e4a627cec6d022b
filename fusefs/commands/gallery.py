"""Writes docs/gallery.md: what each order and each era answers to each litmus file of the gallery.

    python -m fusefs.commands.gallery [--check] [--jobs N]      which ./dev gallery runs

It is no command of a user: what it writes is a part of the sources.  --check writes nothing, and
fails with one line if the page is not what would be written.

    asked()      every cell of the two matrices, searched to its end
    page()       the whole page, in gallery_text.py
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import fusefs
from fusefs.commands.answers import Cell, answers
from fusefs.commands.errors import CommandError
from fusefs.commands.gallery_text import Found, page
from fusefs.commands.litmus_text import read
from fusefs.model.orders import ERAS, ROWS

FUSEFS = Path(fusefs.__file__).parent
FILES = FUSEFS / "litmus" / "gallery"
PAGE = FUSEFS.parent / "docs" / "gallery.md"

RUNS_MAX = 20_000
"""Classes of a cell.  The largest has 752; a file with more than this would make CI wait."""


def main(argv: Sequence[str] | None = None) -> int:
    """0 written, or as it should be; 1 not so, or a file is wrong."""
    parser = argparse.ArgumentParser(prog="./dev gallery", description="Write docs/gallery.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it would differ")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    arguments = parser.parse_args(argv)
    try:
        text = page(asked(sources(), arguments.jobs))
        if arguments.check:
            check(text)
        else:
            PAGE.write_text(text, encoding="utf-8")
    except CommandError as error:
        print(f"gallery: {error}", file=sys.stderr)
        return 1
    return 0


def check(text: str) -> None:
    """CommandError with one line if the page is another text."""
    written = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    wanted = text.splitlines()
    if written == wanted:
        return
    common = min(len(written), len(wanted))
    line = next((n for n in range(common) if written[n] != wanted[n]), common) + 1
    name = PAGE.relative_to(FUSEFS.parent)
    raise CommandError(f"{name}:{line} is not what would be written; ./dev gallery writes it")


def sources() -> dict[str, str]:
    """The texts of the gallery's files, by their names without the suffix."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(FILES.glob("*.litmus"))}


def cells(name: str, source: str) -> list[Cell]:
    """A file under each era and each order."""
    file = f"{name}.litmus"
    eras = [Cell(file, source, era, known.orders) for era, known in ERAS.items()]
    return eras + [Cell(file, source, order, frozenset([order])) for order in ROWS]


def asked(texts: dict[str, str], jobs: int) -> list[Found]:
    """Each file with its answers; CommandError if a file is wrong, or too large."""
    with ProcessPoolExecutor(jobs) if jobs > 1 else nullcontext() as executor:
        return _asked(texts, executor, jobs)


def _asked(texts: dict[str, str], executor: Executor | None, jobs: int) -> list[Found]:
    by_name = {name: cells(name, text) for name, text in texts.items()}
    all_cells = [cell for some in by_name.values() for cell in some]
    watched = sys.stderr.isatty()
    coming = answers(all_cells, RUNS_MAX, executor, jobs=jobs, is_watched=watched)
    found = []
    for name, some in by_name.items():
        litmus = read(texts[name], f"{name}.litmus")
        if litmus.name != name:
            raise CommandError(f"{name}.litmus: it calls itself {litmus.name}")
        by_era = {cell.era: next(coming).answer for cell in some}
        for era, answer in by_era.items():
            if not answer.exhausted:
                raise CommandError(f"{name}.litmus, {era}: more than {RUNS_MAX:,} classes")
        found.append(Found(litmus, texts[name], by_era))
    return found


if __name__ == "__main__":
    sys.exit(main())
