""".fusefs/gates as somebody has it open: commands are written, and what they say is read.

    hold … [keep]           a gate; it goes with this open file, with keep only with the mount
    wait NAME [timeout=5s]  be told when a request is held there, or that the time is up
    release NAME|all        let go who is held there, or the next one; all gates away
    list                    every gate, a line of JSON each

A line of JSON answers each command; {"error": LINE} is one, and then the write has failed as well.
A read gets what was not read yet, wherever it begins, and waits for the answer to a wait.  Who has
the file open to write alone gets no answer, and is made to wait by the write.  Who has asked for
nothing reads the list.

Errors: FsError of a write: EINVAL, ENOENT, EEXIST, ENOSPC, ENFILE; of one that waits ETIMEDOUT,
EDEADLK, EINTR.
"""

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress

from fusefs.engine.gate import GateError, parse_timeout, shown
from fusefs.engine.held import MOUNT, Hold, Watch
from fusefs.live.extension._lowlevel import Request
from fusefs.live.gatekeeper import Gatekeeper
from fusefs.model.errors import FsError

COMMAND_BYTES_MAX = 4096

Account = Callable[[int], None]
"""Of so many bytes more are kept, or fewer; FsError(ENFILE) if all open files have too much."""


class GateFile:
    """One of them; number, which is its own, owns the gates that are set through it."""

    def __init__(self, keeper: Gatekeeper, number: int, flags: int, account: Account) -> None:
        self._keeper = keeper
        self._number = number
        self._answers = flags & os.O_ACCMODE != os.O_WRONLY
        self._account = account
        self._text = b""
        self._has_asked = False
        self._watch: Watch | None = None
        self._waiter: Request | None = None
        self._size = self._written = 0

    # -- from the extension ----------------------------------------------------------------

    def write(self, request: Request, data: bytes) -> None:
        """Carry out a command, or several lines of them; the answer comes once it is done."""
        if len(data) > COMMAND_BYTES_MAX:
            raise FsError(errno.EINVAL)
        self._has_asked = True
        if self._watch is None:
            self._say(b"")
        self._written = len(data)
        for line in data.decode(errors="backslashreplace").splitlines():
            if self._watch is not None:  # who waits asks for nothing else
                raise FsError(errno.EBUSY)
            try:
                self._perform(line.split())
            except GateError as error:
                self._tell(error)
                raise FsError(error.number) from None
        if self._watch is None or self._answers:
            request.reply_write(self._written)
            return
        self._wait_for_answer(request, 0)

    def read(self, request: Request, size: int) -> None:
        if self._watch is not None:
            if self._waiter is not None:
                raise FsError(errno.EBUSY)
            self._wait_for_answer(request, size)
            return
        if not self._has_asked:
            self._has_asked = True
            self._list()
        self._give(request, size)

    def close(self) -> None:
        """Its gates go, and whom they hold goes on."""
        self._say(b"")
        if self._watch is not None:
            self._keeper.unwatch(self._watch)
        self._keeper.drop_owner(self._number)

    # -- commands --------------------------------------------------------------------------

    def _perform(self, words: list[str]) -> None:
        word, *rest = words or [""]
        if word == "hold":
            owner = MOUNT if "keep" in rest else self._number
            gate = self._keeper.hold([each for each in rest if each != "keep"], owner)
            self._add({"name": gate.text.name, "gate": str(gate.text)})
        elif word == "release" and len(rest) == 1:
            self._keeper.release(rest[0])
            self._add({"released": rest[0]})
        elif word == "wait" and len(rest) in (1, 2):
            self._begin_wait(*rest)
        elif word == "list" and not rest:
            self._list()
        elif word:
            line = " ".join(words)
            known = "hold STEP …, wait NAME [timeout=5s], release NAME|all, list"
            raise GateError(f"'{shown(line)}' is no command: there are {known}")

    def _begin_wait(self, name: str, timeout: str = "") -> None:
        key, equals, text = timeout.partition("=")
        if timeout and (key != "timeout" or not equals):
            raise GateError(f"'{shown(timeout)}': say timeout=TIME, such as timeout=5s")
        told_at_once: list[Hold | GateError] = []

        def told(what: Hold | GateError) -> None:
            if self._watch is None:
                told_at_once.append(what)
            else:
                self._watch = None
                with suppress(FsError):  # of too much that is not read: then this is not, either
                    self._tell(what)
                self._answer_waiter(what)

        watch = self._keeper.wait(name, parse_timeout(text if timeout else None), told)
        if told_at_once:
            self._tell(told_at_once[0])
            if isinstance(told_at_once[0], GateError):
                raise told_at_once[0]
        else:
            self._watch = watch

    def _list(self) -> None:
        for report in self._keeper.reports():
            self._add(report)

    # -- answers ---------------------------------------------------------------------------

    def _give(self, request: Request, size: int) -> None:
        text = self._text[:size]
        self._say(self._text[size:])
        request.reply_buf(text)

    def _wait_for_answer(self, request: Request, size: int) -> None:
        self._waiter, self._size = request, size
        self._keeper.when_interrupted(request, self._interrupted)

    def _interrupted(self) -> None:
        """A signal has come for whoever waits here; a wait that is read goes on."""
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        if not self._answers and self._watch is not None:
            self._keeper.unwatch(self._watch)
            self._watch = None
        waiter.reply_done(None, FsError(errno.EINTR))

    def _answer_waiter(self, what: Hold | GateError) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return
        if self._answers:
            self._give(waiter, self._size)
        elif isinstance(what, GateError):
            waiter.reply_done(None, FsError(what.number))
        else:
            waiter.reply_write(self._written)

    def _tell(self, what: Hold | GateError) -> None:
        if isinstance(what, GateError):
            self._add({"error": str(what), "errno": errno.errorcode[what.number]})
        else:
            self._add(what.report(what.since))

    def _add(self, answer: dict[str, object]) -> None:
        if self._answers:
            self._say(self._text + json.dumps(answer).encode() + b"\n")

    def _say(self, text: bytes) -> None:
        """What is to be read next."""
        self._account(len(text) - len(self._text))
        self._text = text
