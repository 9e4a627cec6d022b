"""What ends a command: one line on stderr, and an exit status."""


class UsageError(Exception):
    """The command line is wrong; exit status 2."""


class CommandError(Exception):
    """The command failed.  status is its exit status; 0 for that of any failure."""

    def __init__(self, line: str, status: int = 0) -> None:
        super().__init__(line)
        self.status = status
