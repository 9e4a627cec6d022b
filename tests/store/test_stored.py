"""What is stored is checked one value at a time: whatever SQLite hands out, it is EIO or right."""

import pytest

from fusefs.model.errors import FsError
from fusefs.store.stored import INO_END, Attributes, Entry, as_bytes, as_entries, as_int

GOOD = Attributes(2, 0o100644, 1, 0, 0, 0, 10, 1, 1, 1, 1)


@pytest.mark.parametrize("ino", [1, INO_END - 1])
def test_attributes_of_an_inode_have_no_fault(ino: int) -> None:
    assert GOOD._replace(ino=ino, atime_ns=-(1 << 63), uid=(1 << 32) - 1).fault() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("ino", 0), ("ino", INO_END), ("mode", -1), ("mode", 0o644), ("mode", 1 << 63)),
        *(("nlink", -1), ("uid", -5), ("gid", 1 << 32), ("rdev", -1), ("size", -1)),
        *(("blocks", -1), ("blocks", 1 << 62), ("target", "text"), ("mtime_ns", None)),
        *(("size", 1.5), ("mode", b"noise"), ("ino", "2")),
    ],
)
def test_attributes_that_none_can_have_are_a_fault(name: str, value: object) -> None:
    assert GOOD._replace(**{name: value}).fault()


@pytest.mark.parametrize("value", [None, 1.5, "text", b"bytes", 7])
def test_a_value_of_another_type_is_eio(value: object) -> None:
    for check, kind in ((as_int, int), (as_bytes, bytes)):
        if isinstance(value, kind):
            assert check(value) == value
        else:
            with pytest.raises(FsError, match="EIO"):
                check(value)


@pytest.mark.parametrize(
    "row",
    [
        *((3, b"", 5), (3, b"x" * 256, 5), (3, b"a/b", 5), (3, b"a\0", 5), (3, b"..", 5)),
        *((3, "text", 5), (2, b"a", 5), (3, b"a", None), (None, b"a", 5)),
    ],
)
def test_entry_that_readdir_cannot_give_is_eio(row: tuple[object, object, object]) -> None:
    assert as_entries([(3, b"a", 5), (9, b"b", 5)], 2) == [Entry(3, b"a", 5), Entry(9, b"b", 5)]
    with pytest.raises(FsError, match="EIO"):
        as_entries([row], 2)


def test_cookies_that_do_not_ascend_are_eio() -> None:
    """A reader that goes on behind the last would never come to the end."""
    with pytest.raises(FsError, match="EIO"):
        as_entries([(5, b"a", 5), (4, b"b", 6)], 2)
