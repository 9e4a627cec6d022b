"""python -m benchmarks.scale: does what a mount costs follow what is stored?

    main()       images, rounds, report
    _build()     each image, checked by fsck
    _measure()   one image: open, mount, a few operations, unmount; kill, and mount again

An answer of "no" is a table whose ratios are 1 within noise: each family of images grows a
hundredfold and more from line to line, in one respect.  Families take turns in each round.

Units: as the columns say; a ratio is to the smallest image of the family.
Exit status: 0 all was measured, 1 something failed, 2 usage.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import ROOT
from benchmarks.processes import BenchmarkError, run
from benchmarks.run import temporary_folder
from fusefs.model.options import Options
from fusefs.mounts import Mount, MountFailed
from fusefs.store.volume import Volume, metadata_path

TIMEOUT_S = 600.0

COLUMNS = {
    "open_ms": "open\nms",
    "mount_ms": "mount\nms",
    "mount_after_kill_ms": "mount after\nkill -9, ms",
    "memory_mib": "resident\nMiB",
    "commit_ms": "commit\nms",
    "create_us": "create\nµs",
    "lookup_us": "lookup\nµs",
    "unlink_us": "unlink\nµs",
    "read_us": "read\nµs",
}

FULL = {
    "files": (1_000, 10_000, 100_000),
    "extents": (100, 10_000, 1_000_000),
    "dense": (100, 10_000, 1_000_000),
    "blocks": (32, 1_024, 32_000),
}
SMOKE = {"files": (1_000,), "extents": (10,), "dense": (10,), "blocks": (1,)}

TITLES = {
    "files": "files in one directory",
    "extents": "extents, far apart, in a file of 1 TiB",
    "dense": "extents, side by side",
    "blocks": "allocation groups of 32 MiB, all used by one file",
}

console = Console(stderr=True, highlight=False)


@dataclass(slots=True)
class Case:
    """One image, and what was measured with it, column by column."""

    kind: str
    count: int
    image: Path
    metadata_mib: float = 0.0
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, figures: dict[str, float]) -> None:
        for column, value in figures.items():
            self.values.setdefault(column, []).append(value)

    def median(self, column: str) -> float:
        return median(self.values[column])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.scale",
        description="Measure whether mount, memory and operations cost more in larger images.",
        epilog=f"Images and mounts are in {tempfile.gettempdir()}; TMPDIR chooses another place.",
    )
    parser.add_argument("--smoke", action="store_true", help="toy sizes: does everything run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--rounds", type=int, help="of all images (5)")
    parser.add_argument("--only", choices=FULL, help="one family of images")
    arguments = parser.parse_args(argv)
    rounds = arguments.rounds or (1 if arguments.smoke else 5)
    samples = 8 if arguments.smoke else 400
    families = SMOKE if arguments.smoke else FULL
    try:
        with temporary_folder() as folder:
            cases = [
                Case(kind, count, folder / f"{kind}-{count}.img")
                for kind, counts in families.items()
                for count in counts
                if arguments.only in (None, kind)
            ]
            (folder / "images").mkdir()
            _run(cases, folder, rounds, samples)
    except (BenchmarkError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        arguments.json.write_text(json.dumps(_document(cases), indent=1) + "\n")
    _print(cases, rounds)
    return 0


def _run(cases: list[Case], folder: Path, rounds: int, samples: int) -> None:
    with console.status("") as status:
        for case in cases:
            status.update(f"making an image of {case.count:,} {TITLES[case.kind]}")
            _build(case)
        if rounds > 1:  # what was made must not be written while something is measured
            run(["sync", "-f", str(folder)], TIMEOUT_S)
        mount = folder / "mounts" / "mnt"
        mount.mkdir(parents=True)
        for number in range(rounds):
            for case in cases:
                status.update(f"round {number + 1} of {rounds}: {case.count:,} {TITLES[case.kind]}")
                try:
                    case.add(_measure(case, mount, samples))
                except (BenchmarkError, MountFailed) as error:
                    raise BenchmarkError(f"{case.image.name}: {error}") from None


def _build(case: Case) -> None:
    run([*_module("scale_images"), case.kind, str(case.count), str(case.image)], TIMEOUT_S)
    run([*_mount_tool("fsck"), str(case.image)], TIMEOUT_S)  # exit status 0: clean
    meta = Path(metadata_path(str(case.image), None))
    case.metadata_mib = meta.stat().st_size / (1 << 20)


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{name}"]


def _mount_tool(*words: str) -> list[str]:
    return [sys.executable, str(ROOT / "mount_tool.py"), *words]


# -- one image -------------------------------------------------------------------------


def _measure(case: Case, mountpoint: Path, samples: int) -> dict[str, float]:
    figures = {"open_ms": _open_ms(case.image)}
    mount = Mount(mountpoint, case.image, {"commit": 60})
    try:
        figures["mount_ms"] = _start_ms(mount)
        figures |= json.loads(_client(case, mount, samples))
        mount.umount()
        mount.start()
        _client(case, mount, 4)
        mount.kill()
        figures["mount_after_kill_ms"] = _start_ms(mount)
    finally:
        mount.close()
    return figures


def _start_ms(mount: Mount) -> float:
    """Until its status has been read."""
    start = time.perf_counter()
    mount.start()
    return 1e3 * (time.perf_counter() - start)


def _client(case: Case, mount: Mount, samples: int) -> str:
    words = [str(mount.path), case.kind, str(case.count), str(samples)]
    return run([*_module("scale_client"), *words], TIMEOUT_S, mount.interrupt)


def _open_ms(image: Path) -> float:
    """What a mount does with the image before it answers, without Python's own start."""
    start = time.perf_counter()
    with closing(Volume.open(str(image), metadata_path(str(image), None), Options())):
        return 1e3 * (time.perf_counter() - start)


# -- the report ------------------------------------------------------------------------


def _document(cases: list[Case]) -> dict[str, object]:
    return {
        "images": [
            {
                "kind": case.kind,
                "count": case.count,
                "metadata_mib": case.metadata_mib,
                **{column: case.median(column) for column in COLUMNS},
            }
            for case in cases
        ]
    }


def _print(cases: list[Case], rounds: int) -> None:
    output = Console(highlight=False)
    output.width = max(output.width, 150)
    for kind, title in TITLES.items():
        family = [case for case in cases if case.kind == kind]
        if not family:
            continue
        table = Table(
            title=f"{title}; median of {rounds}, and the ratio to the smallest",
            title_justify="left",
            box=SIMPLE_HEAD,
            show_edge=False,
        )
        table.add_column("count", justify="right")
        table.add_column("metadata\nMiB", justify="right")
        for heading in COLUMNS.values():
            table.add_column(heading, justify="right", no_wrap=True)
        for case in family:
            table.add_row(
                f"{case.count:,}",
                f"{case.metadata_mib:,.1f}",
                *(_figure(case, family[0], column) for column in COLUMNS),
            )
        output.print(table)
        output.print()


def _figure(case: Case, smallest: Case, column: str) -> str:
    value = case.median(column)
    ratio = value / smallest.median(column)
    return f"{value:,.{2 if value < 10 else 0}f}  x{ratio:.2f}"


if __name__ == "__main__":
    sys.exit(main())
