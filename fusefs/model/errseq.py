"""Errors of writeback and who has heard of them: errseq_t of Linux's lib/errseq.c.

    set()                 a writeback failed
    sample()              a file is opened: filemap_sample_wb_err()
    check_and_advance()   fsync of an open file: file_check_and_advance_wb_err()

Errors that nobody has heard of yet become one, the latest.  An open file hears of what came
after its sample, once; if nobody had heard of the latest error by then, of that one, too.

Invariants:
    (Q1) each open file reports an error that came after its opening exactly once;
    (Q2) an error that no open file has reported yet is reported to the next one opened.
"""

Position = tuple[int, int, bool]
"""What an open file keeps: count, error and seen of the moment.  START if there was nothing."""

START: Position = (0, 0, False)


class ErrorSequence:
    """error is the latest errno, 0 for none; count grows with each that follows a seen one."""

    __slots__ = ("count", "error", "seen")

    def __init__(self) -> None:
        self.count, self.error, self.seen = START

    def set(self, error: int) -> None:
        """A new error; it takes the place of one that nobody has seen."""
        self.count += self.seen
        self.error, self.seen = error, False

    def sample(self) -> Position:
        """Where a new open file begins: before the latest error, if that is unseen (Q2)."""
        return (self.count, self.error, self.seen) if self.seen else START

    def check_and_advance(self, since: Position) -> tuple[int, Position]:
        """The errno to report to whoever stands at since, or 0, and where it stands then (Q1)."""
        if (self.count, self.error, self.seen) == since:
            return 0, since
        self.seen = True
        return self.error, (self.count, self.error, self.seen)
