"""What -o may say: options of ours, of libfuse and the kernel, and of mount(8) and fstab(5).

    OPTIONS          of fusefs itself; see fusefs/model/options.py
    MOUNT_OPTIONS    all others: who deals with each of them, and which contradict each other

Of options that contradict each other the last one counts, as in mount(8), whichever of them
libfuse would take.

Errors: OptionError with one line that lists what is allowed.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from fusefs.model.options import OPTIONS, SHOWN_LENGTH_MAX, OptionError, parse_size


class By(Enum):
    """Who deals with an option."""

    KERNEL = "passed on to the kernel, through libfuse"
    LIBFUSE = "passed on to libfuse"
    DAEMON = "handled by fusefs"
    DEFAULT = "the default, so nothing is to be done"
    REMOUNT = "only with remount"
    NOBODY = "accepted, and without effect"


@dataclass(frozen=True, slots=True)
class MountOption:
    """One row of MOUNT_OPTIONS.

    Of those with the same topic the last one counts; one without a topic is its own.
    implies are taken as if they had been written before it.  takes_value: =VALUE must follow;
    None if it may.
    """

    by: By
    help: str
    topic: str = ""
    implies: tuple[str, ...] = ()
    takes_value: bool | None = False


NO_PRIVILEGES = ("noexec", "nosuid", "nodev")
NO_PRIVILEGES_OF_OTHERS = ("nosuid", "nodev")

SHOWN = "user_id", "group_id"
"""Words of /proc/mounts, which nobody writes."""

MOUNT_OPTIONS: dict[str, MountOption] = {
    "ro": MountOption(By.KERNEL, "nothing can be changed", "ro"),
    "rw": MountOption(By.DEFAULT, "undoes ro", "ro"),
    "suid": MountOption(By.KERNEL, "set-user-ID bits count; root only", "suid"),
    "nosuid": MountOption(By.KERNEL, "the default, unless root calls mount(8)", "suid"),
    "dev": MountOption(By.KERNEL, "device files work; root only", "dev"),
    "nodev": MountOption(By.KERNEL, "the default, unless root calls mount(8)", "dev"),
    "exec": MountOption(By.DEFAULT, "undoes noexec", "exec"),
    "noexec": MountOption(By.KERNEL, "no file can be executed", "exec"),
    "async": MountOption(By.DEFAULT, "undoes sync", "sync"),
    "sync": MountOption(By.KERNEL, "each write is committed", "sync"),
    "dirsync": MountOption(By.KERNEL, "names are committed as without it"),
    "symfollow": MountOption(By.DEFAULT, "undoes nosymfollow", "symfollow"),
    "nosymfollow": MountOption(By.KERNEL, "symlinks lead nowhere; libfuse 3.17", "symfollow"),
    "relatime": MountOption(By.DEFAULT, "moves atime as Linux does", "atime"),
    "atime": MountOption(By.DEFAULT, "relatime, that is", "atime"),
    "norelatime": MountOption(By.DEFAULT, "relatime, that is", "atime"),
    "nostrictatime": MountOption(By.DEFAULT, "relatime, that is", "atime"),
    "strictatime": MountOption(By.DAEMON, "each reading moves atime", "atime"),
    "noatime": MountOption(By.DAEMON, "no reading moves atime", "atime"),
    "diratime": MountOption(By.DEFAULT, "undoes nodiratime", "diratime"),
    "nodiratime": MountOption(By.DAEMON, "listing moves no atime", "diratime"),
    "lazytime": MountOption(By.NOBODY, "times always wait for a commit", "lazytime"),
    "nolazytime": MountOption(By.NOBODY, "times always wait for a commit", "lazytime"),
    "fsname": MountOption(By.LIBFUSE, "the source that is shown", takes_value=True),
    "subtype": MountOption(
        By.LIBFUSE, "the type is fuse.VALUE, or fuse if it is empty", takes_value=True
    ),
    "allow_other": MountOption(By.LIBFUSE, "other users get in"),
    "allow_root": MountOption(By.LIBFUSE, "root gets in"),
    "auto_unmount": MountOption(By.LIBFUSE, "unmounted if the daemon dies"),
    "default_permissions": MountOption(By.KERNEL, "the kernel checks modes; always set"),
    "max_read": MountOption(By.LIBFUSE, "largest read request, in bytes", takes_value=True),
    "context": MountOption(By.KERNEL, "of SELinux", takes_value=True),
    "fscontext": MountOption(By.KERNEL, "of SELinux", takes_value=True),
    "defcontext": MountOption(By.KERNEL, "of SELinux", takes_value=True),
    "rootcontext": MountOption(By.KERNEL, "of SELinux", takes_value=True),
    "user": MountOption(
        By.NOBODY, "implies noexec,nosuid,nodev", implies=NO_PRIVILEGES, takes_value=None
    ),
    "users": MountOption(By.NOBODY, "implies noexec,nosuid,nodev", implies=NO_PRIVILEGES),
    "owner": MountOption(By.NOBODY, "implies nosuid,nodev", implies=NO_PRIVILEGES_OF_OTHERS),
    "group": MountOption(By.NOBODY, "implies nosuid,nodev", implies=NO_PRIVILEGES_OF_OTHERS),
    **{
        name: MountOption(By.NOBODY, "for mount(8)")
        for name in (
            *("defaults", "auto", "noauto", "_netdev"),
            *("nouser", "nousers", "noowner", "nogroup"),
            *("silent", "loud", "iversion", "noiversion", "mand", "nomand"),
        )
    },
    "nofail": MountOption(By.NOBODY, "nothing is said of a missing image"),
    "remount": MountOption(By.REMOUNT, "changes the mount that is there"),
    **{name: MountOption(By.REMOUNT, "shown by /proc/mounts", takes_value=True) for name in SHOWN},
    "comment": MountOption(By.NOBODY, "for people", takes_value=True),
    "helper": MountOption(By.NOBODY, "for umount(8)", takes_value=True),
    "uhelper": MountOption(By.NOBODY, "for umount(8)", takes_value=True),
}

PASSED = By.KERNEL, By.LIBFUSE, By.DAEMON
"""What a daemon is started with."""

COMMENTS = "x-", "X-"
"""How x-systemd.automount and the like begin."""

_NAMES = {*OPTIONS, *MOUNT_OPTIONS, "metadata"}

OF_OTHERS = (
    *(name for name in MOUNT_OPTIONS if name not in SHOWN),
    *(f"{beginning}*" for beginning in COMMENTS),
)
OF_MOUNT = (*OPTIONS, "metadata", *OF_OTHERS)
"""What may be said, be it without effect: somebody looks for it."""

ALIKE = 0.75
"""How alike two words are that difflib takes for one, of which one is misspelt."""


@dataclass(frozen=True, slots=True)
class Word:
    """One option as it was written; value is None if there was no '='."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}={self.value}"


REMOUNT = Word("remount")
NOFAIL = Word("nofail")
"""An image that is missing is no failure: mount(8) leaves that to its helper."""


def known_words(
    texts: Sequence[str], *, sloppy: bool = False, takes: Sequence[str] = ()
) -> list[Word]:
    """-o arguments, cut at the commas that are not within quotation marks; OptionError.

    sloppy: what is not known is left out, not refused.  takes: all that a refusal may name, if
    the command takes fewer than a mount.
    """
    known = []
    for word in _words(texts):
        if not sloppy or word.name in _NAMES:
            _check(word, takes)
            known.append(word)
    return [word for word in known if word.name[:2] not in COMMENTS]


def _words(texts: Sequence[str]) -> Iterator[Word]:
    for text in texts:
        written, quoted = "", False
        for character in f"{text},":
            quoted ^= character == '"'
            if character != "," or quoted:
                written += character
            elif written:
                name, equals, value = written.partition("=")
                yield Word(name, value if equals else None)
                written = ""
        if written:
            raise OptionError(f"{text[:SHOWN_LENGTH_MAX]!r}: a quotation mark is missing")


def _check(word: Word, takes: Sequence[str]) -> None:
    """OptionError if there is no such option, or its value is missing or too much."""
    if word.name[:2] in COMMENTS:
        return
    if word.name == "metadata" and not word.value:
        raise OptionError("metadata takes a value: a path")
    if word.name in OPTIONS and word.value is None:
        raise OptionError(f"{word.name} takes a value: {OPTIONS[word.name].help}")
    if word.name not in _NAMES:
        near = difflib.get_close_matches(word.name, takes or _NAMES, 1, ALIKE)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(takes or OF_MOUNT)}"
        raise OptionError(f"unknown option {str(word)[:SHOWN_LENGTH_MAX]!r}; {hint}")
    option = MOUNT_OPTIONS.get(word.name)
    if option is None:
        return
    if option.takes_value and not word.value and word != Word("subtype", ""):
        raise OptionError(f"{word.name} takes a value: {option.help}")
    if option.takes_value is False and word.value is not None:
        shown = word.value[:SHOWN_LENGTH_MAX]
        raise OptionError(f"{word.name} takes no value, but was given {shown!r}")


def without_contradictions(given: Sequence[Word]) -> dict[str, Word]:
    """By topic, in the order given: the last word on each, what others imply included."""
    last: dict[str, Word] = {}
    for word in given:
        option = MOUNT_OPTIONS.get(word.name)
        for implied in option.implies if option else ():
            last[MOUNT_OPTIONS[implied].topic] = Word(implied)
        topic = (option and option.topic) or word.name
        last.pop(topic, None)
        last[topic] = word
    return last


def split_options(
    texts: Sequence[str], takes: Sequence[str] = ()
) -> tuple[dict[str, str], str | None, list[str]]:
    """-o arguments as (our options, metadata path, what goes to the daemon); OptionError."""
    return split_words(known_words(texts, takes=takes))


def split_words(given: Sequence[Word]) -> tuple[dict[str, str], str | None, list[str]]:
    """As split_options(); no two of what goes to the daemon contradict each other."""
    ours: dict[str, str] = {}
    metadata: str | None = None
    passed: list[str] = []
    for word in without_contradictions(given).values():
        if word.name == "metadata":
            metadata = word.value
        elif word.name in OPTIONS:
            ours[word.name] = word.value or ""
        elif word.name == "max_read":
            passed.append(f"max_read={max_read(word.value or '')}")
        elif MOUNT_OPTIONS[word.name].by is By.REMOUNT:
            raise OptionError(f"{word.name} is of use with remount only")
        elif MOUNT_OPTIONS[word.name].by in PASSED:
            passed.append(str(word))
    return ours, metadata, passed


def max_read(text: str) -> int:
    """Bytes; OptionError."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise OptionError(f"bad value {text!r} for max_read: it takes {error}") from None


def options_help(names: Sequence[str]) -> str:
    """An epilog that lists options of ours, a line each."""
    return "\n".join(["options:", *(f"  {name:17} {OPTIONS[name].help}" for name in names)])
