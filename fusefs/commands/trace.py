"""trace: the last events of a live mount's requests, or those of a file, as lines or pictures."""

import argparse
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from fusefs.commands import pictures
from fusefs.commands.control_files import read_control, read_status, write_control
from fusefs.commands.errors import CommandError, UsageError
from fusefs.model.options import parse_size

if TYPE_CHECKING:
    from fusefs.engine.events import Event
    from fusefs.show.story import Story

HELP = "show the last events of a live mount's requests, as lines or as a picture"
EPILOG = """\
    trace MNT > FILE                        keep them
    trace MNT --path data --html FILE       the last of them that are about a file
    trace --from FILE --ladder              those of a file, or of a recording
docs/pictures.md tells how to read the pictures."""

RECORDING = b"fusefs recording "
"""How a recording begins, whatever its version."""

LAST = 200
"""Events in a picture that says nothing else: a dozen screens of a page."""


class Source(NamedTuple):
    """Where events are from.  page and block are bytes; 0 if that is not known.

    files are the names of inodes, as far as the source has them; notes are to be said of it.
    """

    name: str
    events: "list[Event]"
    page: int
    block: int
    files: "Mapping[int, str]" = MappingProxyType({})
    notes: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", nargs="?")
    parser.add_argument("--clear", action="store_true", help="forget them afterwards")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="a recording, or lines of a trace, instead of a mount; - for standard input",
    )
    chosen = parser.add_argument_group("which requests", "Those that fit all of these.")
    chosen.add_argument("--path", action="append", default=[], help="of a file, in the mount")
    chosen.add_argument("--ino", action="append", default=[], type=int, help="of an inode")
    chosen.add_argument("--pid", action="append", default=[], type=int, help="of a thread")
    chosen.add_argument("--range", action="append", default=[], metavar="POS+LEN")
    chosen.add_argument(
        "--stale", action="store_true", help="that left the first page stale, and who read it"
    )
    chosen.add_argument("--last", type=int, metavar="N", help=f"events ({LAST} in a picture)")
    pictures.add_arguments(parser, "those requests")
    parser.add_argument(
        "--geometry", metavar="PAGE,BLOCK", help="sizes, with --from: 4k,512 (no pages are drawn)"
    )


def run(arguments: argparse.Namespace) -> int:
    if (arguments.mountpoint is None) == (arguments.source is None):
        raise UsageError("trace takes a mountpoint, or --from and a file")
    if arguments.source is not None and arguments.clear:
        raise UsageError("--clear is of a mount, not of a file")
    if arguments.last is not None and arguments.last < 1:
        raise UsageError("--last takes a number from 1 on")
    is_drawn = pictures.asked(arguments)
    if not is_drawn and arguments.source is None and not _is_choosy(arguments):
        sys.stdout.write(read_control(arguments.mountpoint, "trace"))
    else:
        _show(arguments, is_drawn=is_drawn)
    if arguments.clear:
        write_control(arguments.mountpoint, "trace", "clear")
    return 0


def _is_choosy(arguments: argparse.Namespace) -> bool:
    given = (arguments.path, arguments.ino, arguments.pid, arguments.range)
    return any((*given, arguments.last, arguments.stale))


def _show(arguments: argparse.Namespace, *, is_drawn: bool) -> None:
    from fusefs.show.story import select, whole

    files = _files(arguments)
    source = _source(arguments)
    found = select(
        source.events,
        inos=[*arguments.ino, *files],
        pids=arguments.pid,
        ranges=[_range(each) for each in arguments.range],
    )
    if arguments.stale:
        found = _of_stale_page(source, found)
    last = arguments.last or (LAST if is_drawn else len(found))
    shown = whole(found, last) if found else []
    if is_drawn:
        pictures.draw(_story(source, shown, len(found), files), arguments)
    else:
        sys.stdout.write("".join(f"{event}\n" for event in shown))


def _of_stale_page(source: Source, events: "list[Event]") -> "list[Event]":
    from fusefs.show.mount import of_stale_page

    if not source.page:
        raise UsageError("--stale of a file's events needs --geometry")
    found = of_stale_page(events, source.page, source.block)
    if not found:
        raise CommandError(f"{source.name}: no page became stale in these {len(events)} events")
    return found


def _story(
    source: Source, shown: "list[Event]", found_count: int, files: dict[int, str]
) -> "Story":
    from fusefs.show.mount import mount_story

    notes = [*source.notes]
    if len(shown) < found_count:
        notes.append(f"the last {len(shown)} of {found_count} events; --last N shows more")
    if not source.page:
        notes.append(
            "pages and blocks are not drawn: --geometry PAGE,BLOCK says how large they are"
        )
    name = os.path.basename(os.path.normpath(source.name))
    return mount_story(
        shown,
        among=source.events,
        title=f"Requests of {', '.join(files.values()) or name}",
        files={**source.files, **files},
        page_size=source.page,
        block_size=source.block,
        notes=notes,
    )


def _files(arguments: argparse.Namespace) -> dict[int, str]:
    """The names of inodes that are asked for by their path; CommandError if there is none such."""
    if arguments.path and arguments.mountpoint is None:
        raise UsageError("--path needs a mount that knows it; of a file's events, --ino chooses")
    return {
        os.stat(os.path.join(arguments.mountpoint, path)).st_ino: path for path in arguments.path
    }


def _range(words: str) -> tuple[int, int]:
    """POS+LEN, as events have it, or with k, m and g."""
    pos, plus, length = words.partition("+")
    try:
        found = parse_size(pos), parse_size(length)
    except ValueError:
        found = (0, 0)
    if not plus or not found[1]:
        raise UsageError(f"'{words}' is no range: POS+LEN, such as 4096+512 or 4k+512")
    return found


def _source(arguments: argparse.Namespace) -> Source:
    if arguments.source is None:
        if arguments.geometry is not None:
            raise UsageError("--geometry is of a file's events: a mount knows its own")
        return _of_mount(arguments.mountpoint)
    geometry = _geometry(arguments.geometry) if arguments.geometry is not None else None
    found = _of_file(arguments.source)
    if geometry is None:
        return found
    return found._replace(page=geometry[0], block=geometry[1])


def _of_mount(mountpoint: str) -> Source:
    from fusefs.engine.events import parse

    status = read_status(mountpoint)
    cache, space = status["cache"], status["space"]
    assert isinstance(cache, dict)
    assert isinstance(space, dict)
    events = parse(read_control(mountpoint, "trace").splitlines())
    return Source(mountpoint, events, cache["page_size"], space["block_size"])


def _of_file(name: str) -> Source:
    """A recording, or lines of a trace; CommandError with one line for what is neither."""
    from fusefs.engine.recording import RecordingError
    from fusefs.show.mount import EventsError, file_lines

    shown = "standard input" if name == "-" else name
    try:
        with open(0 if name == "-" else name, "rb", closefd=name != "-") as file:
            lines = file.readlines()
        if lines and lines[0].startswith(RECORDING):
            return _of_recording(shown, lines)
        return Source(shown, file_lines(shown, [line.decode() for line in lines]), 0, 0)
    except UnicodeDecodeError:
        raise CommandError(f"{shown}: not text") from None
    except (EventsError, RecordingError) as error:
        raise CommandError(str(error)) from None


def _of_recording(name: str, lines: list[bytes]) -> Source:
    """What `mount_tool.py record` wrote: it knows sizes and paths, and says what it has lost."""
    from fusefs.engine.events import Event
    from fusefs.engine.recording import Gone, Lost, Machine, Named, records

    events: list[Event] = []
    files: dict[int, str] = {}
    notes: list[str] = []
    page = block = 0
    for record in records(lines, name):
        match record:
            case Event():
                events.append(record)
            case Machine():
                page, block = record.page, record.block
            case Named():
                files[record.ino] = record.path or f"inode {record.ino}"
            case Lost():
                notes.append(f"{record.lines} lines of the recording were lost")
            case Gone():
                notes.append("the daemon ended before the recording did")
    events.sort(key=lambda event: event.time_ns)
    return Source(name, events, page, block, files, tuple(notes))


def _geometry(words: str) -> tuple[int, int]:
    page, comma, block = words.partition(",")
    try:
        found = parse_size(page), parse_size(block)
    except ValueError:
        found = (0, 0)
    if not comma or not found[1] or found[0] % found[1]:
        raise UsageError(f"'{words}' is no geometry: PAGE,BLOCK, such as 4k,512")
    return found
