"""Kill a daemon under load, again and again.

./dev kill [--rounds N] [--seed N] [--block-size SIZE]
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from crash.kill.file_history import Lost
from crash.kill.rounds import IMAGE_SIZE, Rounds
from mounted.mounting import Mount

from fusefs.mounts import MountFailed


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev kill", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--block-size", default="1k")
    parser.add_argument("--keep", help="a folder for image and logs, which then stay")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fusefs-kill-") as temporary:
        folder = arguments.keep or temporary
        options = {"block_size": arguments.block_size, "size": IMAGE_SIZE}
        mount = Mount(Path(folder, "mnt"), Path(folder, "image"), options)
        rounds = Rounds(mount, arguments.seed, arguments.block_size)
        losses = "none"
        try:
            rounds.run(arguments.rounds)
        except Lost as lost:
            losses = "\n".join([str(lost), *lost.__notes__])
        except MountFailed as error:
            print(f"kill: {error}", file=sys.stderr)
            return 1
        finally:
            mount.kill()
    seconds = time.monotonic() - begin
    print(f"kills survived {rounds.kills}; calls {rounds.calls:,}; {seconds:.0f} s")
    print(f"losses: {losses}")
    return int(losses != "none")


if __name__ == "__main__":
    sys.exit(main())
