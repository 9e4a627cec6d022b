"""'./dev install' and './dev uninstall', into a folder and not into /sbin."""

import os
import subprocess
from pathlib import Path

from fusefs.mounts import ROOT

INSTALL_TIMEOUT_S = 600.0
"""./dev builds first if something was edited."""


def dev(command: str, destination: Path | str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "dev", command, *words],
        env=os.environ | {"DESTDIR": str(destination)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
