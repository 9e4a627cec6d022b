"""Where the modules of fusefs are looked for: compiled, if that is what the sources say.

The model and the driver can be compiled by mypyc, as they are (setup.py).  What is compiled
does not lie beside its source but in _compiled/, with a stamp: the interpreter that it is
for, and the hash of each source that it was made of.  If any of that is not as it is now,
nothing compiled is used at all, and the sources run, interpreted: an edited file always
counts, and compiled modules, which rely on each other's layout, are never mixed.

    path()     __path__ of fusefs and fusefs.live
    stamp()    what the stamp says if it is right

FUSEFS_PURE=1 in the environment has the sources run in any case.
"""

import os
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import source_hash

SOURCES = os.path.dirname(__file__)
COMPILED = os.path.join(SOURCES, "_compiled")

PURE = os.environ.get("FUSEFS_PURE", "0") not in ("", "0")


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
