"""Random operations on a live mount from several processes, each checked against bytes.

    ./dev oracle [--operations N] [--seed N]

--invalidate before shows that the check finds the bug.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from mounted.mounting import Mount
from mounted.oracle.client import Mismatch
from mounted.oracle.run import IMAGE_SIZE, Run

from fusefs.mounts import MountFailed


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev oracle", description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--block-size", default="1k")
    parser.add_argument("--invalidate", choices=["before"])
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="fusefs-oracle-") as folder:
        options = {"size": IMAGE_SIZE, "block_size": arguments.block_size}
        if arguments.invalidate:
            options["invalidate"] = arguments.invalidate
        mount = Mount(Path(folder, "mnt"), Path(folder, "image"), options)
        run = Run(mount, arguments.seed)
        begin = time.monotonic()
        losses = "none"
        try:
            run.run(arguments.operations)
        except Mismatch as mismatch:
            losses = str(mismatch)
        except MountFailed as error:
            print(f"oracle: {error}", file=sys.stderr)
            return 1
        finally:
            mount.kill()
    seconds = time.monotonic() - begin
    total = run.counts.total()
    print(", ".join(f"{kind} {count:,}" for kind, count in run.counts.most_common()))
    print(
        f"operations checked {total:,}; bytes compared {run.bytes_compared:,};"
        f" mounts {run.mounts}; {seconds:.0f} s, {total / seconds:,.0f} a second"
    )
    print(f"losses: {losses}")
    return int(losses != "none")


if __name__ == "__main__":
    sys.exit(main())
