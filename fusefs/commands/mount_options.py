"""What -o may say: options of ours, of libfuse and the kernel, and of fstab(5).

Errors: OptionError with one line that lists what is allowed.
"""

from collections.abc import Sequence

from fusefs.options import ATIME_OPTIONS, OPTIONS, SHOWN_LENGTH_MAX, OptionError

FUSE_OPTIONS = frozenset(
    [
        *("allow_other", "allow_root", "auto_unmount", "ro", "rw", "suid", "nosuid"),
        *("dev", "nodev", "exec", "noexec", "atime", "noatime", "sync", "async", "dirsync"),
        *ATIME_OPTIONS,
    ]
)
"""What libfuse, the kernel or the daemon understand; passed on as it is."""

IGNORED_OPTIONS = frozenset(
    ("defaults", "auto", "noauto", "user", "nouser", "users", "_netdev", "nofail", "relatime")
)
"""What fstab(5) may say and mount(8) has dealt with."""


def split_options(texts: Sequence[str]) -> tuple[dict[str, str], str | None, list[str]]:
    """-o arguments as (our options, metadata path, libfuse's options); OptionError."""
    ours: dict[str, str] = {}
    metadata: str | None = None
    passed: list[str] = []
    for word in (word for text in texts for word in text.split(",") if word):
        name, equals, value = word.partition("=")
        if name == "metadata" and value:
            metadata = value
        elif name in OPTIONS and equals:
            ours[name] = value
        elif name in OPTIONS:
            raise OptionError(f"{name} takes a value: {OPTIONS[name].help}")
        elif name in FUSE_OPTIONS and not equals:
            passed.append(name)
        elif name not in IGNORED_OPTIONS and not name.startswith("x-"):
            known = ", ".join([*OPTIONS, "metadata", *sorted(FUSE_OPTIONS)])
            raise OptionError(f"unknown option {word[:SHOWN_LENGTH_MAX]!r}; known: {known}")
    return ours, metadata, passed


def options_help(names: Sequence[str]) -> str:
    """An epilog that lists options of ours, a line each."""
    return "\n".join(["options:", *(f"  {name:17} {OPTIONS[name].help}" for name in names)])
