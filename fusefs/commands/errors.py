"""What ends a command: one line on stderr, and an exit status."""


class UsageError(Exception):
    """The command line is wrong; exit status 2."""


class CommandError(Exception):
    """The command failed."""

    def __init__(self, line: str, status: int = 1) -> None:
        super().__init__(line)
        self.status = status
