"""A mount for one test: fusefs.mounts, and a look at what the daemon has logged.

Errors: AssertionError if the daemon's log has an error, unless errors_expected is set.
"""

from pathlib import Path

from fusefs import mounts
from fusefs.mounts import OptionValue


class Mount(mounts.Mount):
    """A real mount, started as its user starts it."""

    def __init__(self, path: Path, image: Path, options: dict[str, OptionValue]) -> None:
        super().__init__(path, image, options)
        self.errors_expected = False
        """Set by a test that makes the daemon log an error."""

    def umount(self) -> None:
        """Unmount and wait for the daemon; what it logged must hold no error."""
        log = self.log()
        super().umount()
        bad = " ERROR " in log or " CRITICAL " in log or "Traceback (most recent" in log
        assert self.errors_expected or not bad, f"the daemon logged an error:\n{log}"
