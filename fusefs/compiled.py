"""Where the modules of fusefs are looked for: compiled, if that is what the sources say.

What a data request runs through can be compiled by mypyc, as it is (setup.py).  What is compiled
does not lie beside its source but in _compiled/, with a stamp: the interpreter that it is
for, and the hash of each source that it was made of.  If any of that is not as it is now,
nothing compiled is used at all, and the sources run, interpreted: an edited file always
counts, and compiled modules, which rely on each other's layout, are never mixed.

    model()    the files that are the model
    modules()  the files that can be compiled
    path()     __path__ of each package that has such a file
    stamp()    what the stamp says if it is right

FUSEFS_PURE=1 in the environment has the sources run in any case.
"""

import os
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import source_hash

BESIDE_MODEL = (
    "engine/events.py",
    "engine/task.py",
    "explore/dependence.py",
    "explore/execution.py",
    "explore/members.py",
    "explore/reduction.py",
    "explore/wakeup.py",
    "live/driver.py",
    "live/failure.py",
    "live/requests/atime.py",
    "live/requests/data.py",
    "live/requests/open_files.py",
    "live/timing.py",
    "live/trace.py",
    "live/under_way.py",
    "store/image_file.py",
    "store/locks.py",
)
"""What an open file's requests run through at each step, or a search, and is not the model."""

SOURCES = os.path.dirname(__file__)
COMPILED = os.path.join(SOURCES, "_compiled")

PURE = os.environ.get("FUSEFS_PURE", "0") not in ("", "0")


def model() -> list[str]:
    """The files of the model, relative to fusefs: what must perform nothing itself."""
    names = sorted(os.listdir(os.path.join(SOURCES, "model")))
    return [f"model/{name}" for name in names if name.endswith(".py") and name != "__init__.py"]


def modules() -> list[str]:
    """The files that can be compiled, relative to fusefs.

    No such module may import another of fusefs that is not among them.
    """
    return [*model(), *BESIDE_MODEL]


def stamp(sources: Iterable[str]) -> str:
    """A line for the interpreter and one for each source; the names are relative to fusefs."""
    lines = [EXTENSION_SUFFIXES[0]]
    for name in sources:
        with open(os.path.join(SOURCES, name), "rb") as source:
            lines.append(f"{source_hash(source.read()).hex()} {name}")
    return "\n".join(lines)


def _is_current() -> bool:
    try:
        with open(os.path.join(COMPILED, "stamp")) as file:
            found = file.read()
        return found == stamp(line.split()[1] for line in found.splitlines()[1:])
    except (OSError, ValueError, IndexError):  # none, or not ours
        return False


CURRENT = not PURE and _is_current()
"""Whether this process runs what is compiled."""


def path(sources: Iterable[str], package: str = "") -> list[str]:
    """The new __path__ of a package in fusefs, by the one that it has and by its name."""
    return [os.path.join(COMPILED, package), *sources] if CURRENT else list(sources)
