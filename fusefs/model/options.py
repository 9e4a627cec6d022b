"""Mount options: their names, values and defaults, spelled as mount(8) spells them.

Units: sizes are bytes and take k, m, g, t (powers of 1024); times are seconds and take
us, ms, s; commit may be a number of seconds, as ext4's.
Errors: OptionError with one line that lists what is allowed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from fusefs.model.geometry import PAGE_SIZE_MAX, SECTOR_SIZE
from fusefs.model.orders import ERAS, POST_BEFORE_END, ROWS, TODAY, Orders


class OptionError(ValueError):
    """An option is unknown, or its value is not allowed."""


class Invalidate(Enum):
    """Where a direct write drops cached pages the second time, against the conversion.

    AFTER   convert, then drop: kernel commit c771c14baa33, the fix
    BEFORE  drop, then convert: Linux 4.10, the bug
    """

    AFTER = "after"
    BEFORE = "before"


class Check(Enum):
    """Whether clean pages are compared with the image whenever they are read: fusefs/check/.

    REPORT  what differs is told by .fusefs/reports
    FAIL    whoever reads such a page gets EIO as well
    """

    OFF = "off"
    REPORT = "report"
    FAIL = "fail"


ATIME_OPTIONS = frozenset(("nodiratime", "strictatime"))
"""When reading moves atime: the daemon's own, of which libfuse knows nothing."""

SHOWN_LENGTH_MAX = 80
"""Of a value that is refused: it may be 4 KiB of anything, and goes into a log line."""

SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
TIME_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def parse_size(text: str) -> int:
    """'4k' -> 4096; ValueError for anything that is not a whole number with a unit."""
    lower = text.strip().lower()
    digits = lower.rstrip("kmgt")
    if not digits.isascii() or not digits.isdigit() or lower[len(digits) :] not in SIZE_UNITS:
        raise ValueError("a size such as 512, 4k, 64m, 1g")
    return int(digits) * SIZE_UNITS[lower[len(digits) :]]


def format_size(size: int) -> str:
    """The shortest spelling that parse_size() takes back."""
    for unit in ("t", "g", "m", "k"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return str(size)


def parse_time(text: str) -> float:
    """'1ms' -> 0.001; '0' needs no unit; ValueError otherwise: seconds or milliseconds?"""
    lower = text.strip().lower()
    digits = lower.rstrip("ums")
    number = digits.replace(".", "", 1)
    unit = lower[len(digits) :] or ("s" if not number.strip("0") else "")
    if unit not in TIME_UNITS_S or not number.isascii() or not number.isdecimal():
        raise ValueError("a time such as 500us, 1ms, 5s")
    return float(digits) * TIME_UNITS_S[unit]


def format_time(time_s: float) -> str:
    """The shortest spelling that parse_time() takes back, to the microsecond."""
    microseconds = round(time_s * 1e6)
    if microseconds % 1_000_000 == 0:
        return f"{microseconds // 1_000_000}s"
    if microseconds % 1000 == 0:
        return f"{microseconds // 1000}ms"
    return f"{microseconds}us"


def _size_between(low: int, high: int, *, power_of_two: bool = False) -> Callable[[str], int]:
    def parse(text: str) -> int:
        size = parse_size(text)
        if not low <= size <= high or (power_of_two and size & (size - 1)):
            kind = "a power of two" if power_of_two else "a size"
            raise ValueError(f"{kind} from {format_size(low)} to {format_size(high)}")
        return size

    return parse


def _time_between(low_s: float, high_s: float, bare: str = "") -> Callable[[str], float]:
    """bare is the unit of a number that has none."""

    def parse(text: str) -> float:
        time_s = parse_time(text + bare if bare and text.strip()[-1:].isdigit() else text)
        if not low_s <= time_s <= high_s:
            raise ValueError(f"a time from {format_time(low_s)} to {format_time(high_s)}")
        return time_s

    return parse


def _parse_invalidate(text: str) -> Invalidate:
    try:
        return Invalidate(text.strip().lower())
    except ValueError:
        raise ValueError("before or after") from None


def _format_invalidate(value: Invalidate) -> str:
    return value.value


def _parse_check(text: str) -> Check:
    try:
        return Check(text.strip().lower())
    except ValueError:
        raise ValueError("off, report or fail") from None


def _format_check(value: Check) -> str:
    return value.value


NONE = "none"

ORDERS = tuple(name for name in ROWS if name != POST_BEFORE_END and not ROWS[name].on_mount)
"""What order= takes: invalidate=before is the first one's name, and some show on no mount."""

ORDER_OPTIONS = ("era", "invalidate", "order")
"""They speak of one thing, which orders are in force: of several the last one counts."""


def _parse_order(text: str) -> frozenset[str]:
    names = [word for word in text.strip().lower().split("+") if word != NONE]
    for name in names:
        if name not in ORDERS:
            reason = ROWS[name].on_mount if name in ROWS else ""
            why = f"; {name} shows on no mount: {reason}" if reason else ""
            raise ValueError(f"none, or one or more of {', '.join(ORDERS)}, joined by +{why}")
    return frozenset(names)


def _format_order(names: frozenset[str]) -> str:
    return "+".join(sorted(names)) or NONE


def _parse_era(text: str) -> str:
    name = text.strip().lower()
    if name != NONE and name not in ERAS:
        raise ValueError(f"one of {', '.join(ERAS)}, or none, which changes nothing")
    return name


def _format_era(name: str) -> str:
    return name


def on_mount(era: str) -> frozenset[str]:
    """The orders of an era that a mount can show."""
    return frozenset(name for name in ERAS[era].orders if not ROWS[name].on_mount)


@dataclass(frozen=True, slots=True)
class Option:
    """One option: how its value is read and shown, and whether a live mount may change it."""

    parse: Callable[[str], Any]
    format: Callable[[Any], str]
    live: bool
    help: str


BLOCK_SIZE_MAX = 64 << 10

OPTIONS: dict[str, Option] = {
    "era": Option(
        _parse_era,
        _format_era,
        live=True,
        help=f"the orders of a kernel, as far as a mount can show them: {', '.join(ERAS)}",
    ),
    "invalidate": Option(
        _parse_invalidate,
        _format_invalidate,
        live=True,
        help="before or after: drop cached pages before the conversion (the bug) or after",
    ),
    "order": Option(
        _parse_order,
        _format_order,
        live=True,
        help=f"other orders that kernels had: {', '.join(ORDERS)}, joined by +, or none",
    ),
    "check": Option(
        _parse_check,
        _format_check,
        live=True,
        help="off, report or fail: compare each cached page that is read with the image, and"
        " report what differs, or answer EIO as well",
    ),
    "conversion_delay": Option(
        _time_between(0, 10),
        format_time,
        live=True,
        help="mean time that converting an unwritten extent takes while somebody else could see"
        " it, 0 to 10s",
    ),
    "jitter": Option(
        _time_between(0, 1),
        format_time,
        live=True,
        help="mean of the random pause before a page fill while somebody else writes direct,"
        " 0 to 1s",
    ),
    "readahead": Option(
        _size_between(0, 16 << 20),
        format_size,
        live=True,
        help="largest readahead window, 0 to 16m",
    ),
    "cache_size": Option(
        _size_between(64 << 10, 1 << 40),
        format_size,
        live=True,
        help="page cache limit, 64k or more",
    ),
    "commit": Option(
        _time_between(0.1, 3600, bare="s"),
        format_time,
        live=True,
        help="time between two commits of the metadata, 100ms to 3600s",
    ),
    "page_size": Option(
        _size_between(SECTOR_SIZE, PAGE_SIZE_MAX, power_of_two=True),
        format_size,
        live=False,
        help="page of the modelled page cache, at least the block size",
    ),
    "block_size": Option(
        _size_between(SECTOR_SIZE, BLOCK_SIZE_MAX, power_of_two=True),
        format_size,
        live=False,
        help="block of a new image, 512 to 64k; an existing image has its own",
    ),
    "size": Option(
        _size_between(1 << 20, 1 << 60),
        format_size,
        live=False,
        help="size of a new image, 1m or more",
    ),
}


@dataclass(frozen=True, slots=True)
class Options:
    """The values of a mount.  block_size and size are None if the command line has none.

    Times are seconds, sizes bytes.  era is the one that invalidate and order are those of, if it
    was named or is today's; else "none".
    """

    era: str = TODAY
    invalidate: Invalidate = Invalidate.AFTER
    order: frozenset[str] = frozenset()
    check: Check = Check.OFF
    conversion_delay: float = 0.001
    jitter: float = 0.001
    readahead: int = 128 << 10
    cache_size: int = 64 << 20
    commit: float = 5.0
    page_size: int = 4096
    block_size: int | None = None
    size: int | None = None

    @property
    def order_names(self) -> frozenset[str]:
        """The orders in force, the one under study among them."""
        before = self.invalidate is Invalidate.BEFORE
        return self.order | {POST_BEFORE_END} if before else self.order

    @property
    def orders(self) -> Orders:
        """The switches of the model."""
        return Orders(self.order_names)

    def changed(self, name: str, text: str) -> "Options":
        """A copy with one option set from text; OptionError if that is not allowed."""
        option = OPTIONS.get(name)
        if option is None:
            shown = name[:SHOWN_LENGTH_MAX]
            raise OptionError(f"unknown option {shown!r}; known: {', '.join(OPTIONS)}")
        try:
            value = option.parse(text)
        except ValueError as error:
            shown = text.strip()[:SHOWN_LENGTH_MAX]
            raise OptionError(f"bad value {shown!r} for {name}: it takes {error}") from None
        if name == "era":
            return self if value == NONE else self._of_era(value)
        options = replace(self, **{name: value})
        return options._with_era_told() if name in ORDER_OPTIONS else options

    def _of_era(self, era: str) -> "Options":
        names = on_mount(era)
        before = POST_BEFORE_END in names
        invalidate = Invalidate.BEFORE if before else Invalidate.AFTER
        return replace(self, era=era, invalidate=invalidate, order=names - {POST_BEFORE_END})

    def _with_era_told(self) -> "Options":
        """A copy whose era is what its orders say."""
        for era in (self.era, TODAY):
            if era != NONE and (options := replace(self, era=era)) == self._of_era(era):
                return options
        return replace(self, era=NONE)

    def with_all(self, texts: Mapping[str, str]) -> "Options":
        """A copy with all of texts set; OptionError for the first that is not allowed."""
        options = self
        for name, text in texts.items():
            options = options.changed(name, text)
        return options

    def formatted(self) -> dict[str, str]:
        """Every option that has a value, as its own parser would read it."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: OPTIONS[name].format(value) for name, value in values.items() if value is not None
        }
