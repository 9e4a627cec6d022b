"""When reading moves atime."""

from collections.abc import Iterator

import pytest
from store.name_trees import DIRECTORY, FILE, create, make

from fusefs.live.requests.atime import RELATIME_AGE_NS, Atime
from fusefs.store.namespace import Namespace

NOW = 10 * RELATIME_AGE_NS


@pytest.fixture
def names() -> Iterator[Namespace]:
    names = create()
    yield names
    names.metadata.close()


def moves(names: Namespace, options: str, times: tuple[int, int, int], mode: int = FILE) -> bool:
    """Whether a read at NOW moves the atime of an inode with these times: a, m and c."""
    node = make(names, "x", mode)
    node.atime_ns, node.mtime_ns, node.ctime_ns = times
    names.nodes.save_changed()
    Atime(names.nodes, options.split()).touch(node, NOW)
    assert node.changed == (node.atime_ns != times[0])
    return node.atime_ns == NOW


YOUNG = NOW - RELATIME_AGE_NS
"""A time that is just not old."""


@pytest.mark.parametrize(
    ("options", "times", "moved"),
    [
        pytest.param("", (YOUNG, YOUNG, 0), True, id="not-newer-than-mtime"),
        pytest.param("", (YOUNG, 0, YOUNG), True, id="not-newer-than-ctime"),
        pytest.param("", (YOUNG, YOUNG - 1, YOUNG - 1), False, id="newer-than-both"),
        pytest.param("", (YOUNG - 1, 0, 0), True, id="a-day-old"),
        pytest.param("", (NOW + 1, 0, 0), False, id="in-the-future"),
        pytest.param("strictatime", (YOUNG, 0, 0), True, id="strict"),
        pytest.param("noatime", (0, 1, 1), False, id="noatime"),
        pytest.param("noatime strictatime", (0, 1, 1), False, id="noatime-before-strict"),
        pytest.param("ro", (0, 1, 1), False, id="ro"),
        pytest.param("nodiratime", (0, 1, 1), True, id="nodiratime"),
    ],
)
def test_reading_a_file(
    names: Namespace, options: str, times: tuple[int, int, int], moved: bool
) -> None:
    assert moves(names, options, times) == moved


@pytest.mark.parametrize(("options", "moved"), [("", True), ("nodiratime", False), ("ro", False)])
def test_reading_a_directory(names: Namespace, options: str, moved: bool) -> None:
    assert moves(names, options, (0, 1, 1), DIRECTORY) == moved
