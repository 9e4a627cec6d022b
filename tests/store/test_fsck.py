"""Each kind of damage, made by hand: fsck finds it, and repairs it or leaves it alone."""

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from store.name_trees import over, xattrs

from fusefs.commands.main import main
from fusefs.model.extents import CHUNK_BLOCKS, ExtentMap
from fusefs.model.geometry import Geometry
from fusefs.model.options import Options
from fusefs.model.space import GROUP_BLOCKS, Space
from fusefs.store.acl import (
    ACCESS,
    DEFAULT,
    GROUP_OBJ,
    MASK,
    OTHER,
    USER,
    USER_OBJ,
    Acl,
    Entry,
)
from fusefs.store.fsck.blocks import Blocks
from fusefs.store.fsck.run import CLEAN, LEFT, NOT_CHECKED, REPAIRED
from fusefs.store.image_file import ImageFile
from fusefs.store.metadata import Metadata
from fusefs.store.metadata_file import ROOT_INO
from fusefs.store.new_image import take_image, write_new
from fusefs.store.node import Node
from fusefs.store.stored_blocks import save_map, save_space
from fusefs.store.volume import Volume

BLOCK_COUNT = 1000
BLOCK_SIZE = 1024
FILE, DIRECTORY = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755
F, G, D, E, S = 2, 3, 4, 5, 6
"""Inodes: files f (blocks 1-4) and g (5-8), directories d and d/e, a symlink s."""

Damage = Sequence[str]


def meta(image: Path) -> Path:
    return Path(f"{image}.meta")


def sql(image: Path, *statements: str) -> None:
    """Change the metadata behind the schema's back."""
    db = sqlite3.connect(meta(image), isolation_level=None)
    db.execute("PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        db.execute(statement)
    db.close()


def give_blocks(metadata: Metadata, space: Space, node: Node, block: int = 0) -> None:
    """Four blocks, the last one unwritten, as a write would."""
    assert node.inode is not None
    first, count = space.allocate(4)
    node.inode.extents.allocate(block, count, first)
    node.inode.extents.convert(block, block + 3)
    node.inode.size = node.inode.disk_size = 3 * BLOCK_SIZE


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image in use, made by what the daemon uses."""
    path = tmp_path / "disk.img"
    made = take_image(str(path), BLOCK_COUNT * BLOCK_SIZE, BLOCK_SIZE)
    write_new(made)
    uuid = made.superblock.uuid
    made.close()
    metadata = Metadata.create(meta(path), uuid, BLOCK_SIZE, BLOCK_COUNT, 0, 0, 1)
    names, space = over(metadata, Geometry(BLOCK_SIZE)), Space(BLOCK_COUNT)
    for name in (b"f", b"g"):
        node = names.make(ROOT_INO, name, FILE, 0, 0, 0, 5)
        give_blocks(metadata, space, node)
        names.nodes.mark_changed(node)
    names.make(ROOT_INO, b"d", DIRECTORY, 0, 0, 0, 5)
    names.make(D, b"e", DIRECTORY, 0, 0, 0, 5)
    names.make(ROOT_INO, b"s", stat.S_IFLNK | 0o777, 0, 0, 0, 5, b"f")
    names.link(F, D, b"hard", 6)
    xattrs(names).set(F, b"user.a", b"b", 7)
    names.nodes.save_changed()
    space.begin_commit()
    save_space(metadata, space)
    metadata.commit(names.nodes.rows.write_named)
    metadata.close()
    return path


class Told:
    """What the command said."""

    def __init__(self, status: int, findings: list[dict[str, Any]]) -> None:
        self.status, self.findings = status, findings

    @property
    def kinds(self) -> list[tuple[str, int | None]]:
        return [(f["kind"], f["inode"]) for f in self.findings]

    def of(self, kind: str) -> dict[str, Any]:
        [finding] = [f for f in self.findings if f["kind"] == kind]
        return finding


@pytest.fixture
def fsck(image: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*flags: str) -> Told:
        status = main(["fsck", str(image), "--json", *flags])
        return Told(status, json.loads(capsys.readouterr().out))

    return run


def files_beside(image: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in image.parent.iterdir()}


# -- clean -----------------------------------------------------------------------------


def test_new_image_is_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "new.img")
    other = str(tmp_path / "other")
    assert main(["mkfs", path, "-o", f"size=1m,metadata={other}"]) == 0
    assert main(["fsck", path, "-o", f"metadata={other}"]) == CLEAN
    assert capsys.readouterr().out == f"{path}: clean\n"


def test_used_image_is_clean_and_stays_as_it_is(image: Path, fsck: Any) -> None:
    before = files_beside(image)
    assert (fsck().status, fsck().findings) == (CLEAN, [])
    assert files_beside(image) == before
    assert fsck("--repair").status == CLEAN
    assert files_beside(image) == before


def test_blocks_beyond_the_end_are_no_damage(image: Path, fsck: Any) -> None:
    sql(image, f"UPDATE inode SET size = 0 WHERE ino = {F}")
    assert fsck().status == CLEAN


def test_log_left_by_a_crash_is_read_but_not_written_back(image: Path, tmp_path: Path) -> None:
    """(K1)"""
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    opened = ImageFile.open(str(image))
    metadata = Metadata.open(meta(image), opened.superblock.uuid)
    metadata.change("UPDATE inode SET nlink = 9 WHERE ino = ?", F)
    metadata.commit()
    for path in image.parent.glob("disk.img*"):
        shutil.copy(path, crashed)
    metadata.close()
    opened.close()
    copy = crashed / image.name
    before = files_beside(copy)
    assert "disk.img.meta-wal" in before
    assert main(["fsck", str(copy)]) == LEFT
    assert files_beside(copy) == before
    assert main(["fsck", str(copy), "--repair"]) == REPAIRED
    assert main(["fsck", str(copy)]) == CLEAN


def test_log_is_found_beside_the_file_that_a_link_leads_to(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check without it finds half of an old and half of a new state; a repair wrote it back."""
    far, crashed = tmp_path / "far", tmp_path / "crashed"
    for folder in (far, crashed):
        folder.mkdir()
    meta(image).rename(far / "meta")
    meta(image).symlink_to(far / "meta")
    opened = ImageFile.open(str(image))
    metadata = Metadata.open(meta(image), opened.superblock.uuid)
    metadata.change("UPDATE inode SET nlink = 9 WHERE ino = ?", F)
    metadata.commit()
    for path in (image, far / "meta", far / "meta-wal"):
        shutil.copy(path, crashed)
    metadata.close()
    opened.close()
    copy = crashed / image.name
    (crashed / "link").symlink_to("meta")
    before = files_beside(copy)
    given = ["-o", f"metadata={crashed}/link"]
    assert main(["fsck", str(copy), *given]) == LEFT
    assert "has link count 9" in capsys.readouterr().out
    assert files_beside(copy) == before
    assert main(["fsck", str(copy), "--repair", *given]) == REPAIRED
    assert main(["fsck", str(copy), *given]) == CLEAN


# -- damage that needs no guess --------------------------------------------------------

REPAIRABLE: dict[str, tuple[Damage, list[tuple[str, int | None]]]] = {
    "file's link count": ([f"UPDATE inode SET nlink = 7 WHERE ino = {F}"], [("links", F)]),
    "file's link count 0": ([f"UPDATE inode SET nlink = 0 WHERE ino = {F}"], [("links", F)]),
    "directory's link count": ([f"UPDATE inode SET nlink = 2 WHERE ino = {D}"], [("links", D)]),
    "negative link count": ([f"UPDATE inode SET nlink = -1 WHERE ino = {F}"], [("links", F)]),
    "root's link count": ([f"UPDATE inode SET nlink = 2 WHERE ino = {ROOT_INO}"], [("links", 1)]),
    "block count": ([f"UPDATE inode SET blocks = 9 WHERE ino = {F}"], [("blocks", F)]),
    "directory's size": ([f"UPDATE inode SET size = 9 WHERE ino = {D}"], [("size", D)]),
    "orphan": (
        [f"DELETE FROM dentry WHERE ino = {G}", f"UPDATE inode SET nlink = 0 WHERE ino = {G}"],
        [("orphan", G)],
    ),
    "map of an inode that is gone": (
        [f"DELETE FROM dentry WHERE ino = {G}", f"DELETE FROM inode WHERE ino = {G}"],
        [("orphan", G)],
    ),
    "xattr of an inode that is gone": (
        ["INSERT INTO xattr VALUES (99, x'61', x'62')"],
        [("orphan", 99)],
    ),
    "leaked": ([f"DELETE FROM chunk WHERE ino = {G}"], [("blocks", G), ("leaked", None)]),
    "inode count": (["UPDATE meta SET value = 9 WHERE key = 'inode_count'"], [("sum", None)]),
    "inode count lost": (["DELETE FROM meta WHERE key = 'inode_count'"], [("sum", None)]),
    "inode count of none": (
        ["UPDATE meta SET value = 0 WHERE key = 'inode_count'"],
        [("sum", None)],
    ),
    "free count": (["UPDATE meta SET value = 9 WHERE key = 'free_count'"], [("sum", None)]),
    "free count lost": (["DELETE FROM meta WHERE key = 'free_count'"], [("sum", None)]),
    "full group": (
        ["INSERT INTO space_full VALUES (0, CAST(x'80' || zeroblob(4095) AS BLOB))"],
        [("sum", None)],
    ),
    "row of full groups outside": (
        ["INSERT INTO space_full VALUES (1, zeroblob(4096))"],
        [("sum", None)],
    ),
    "stolen": (["UPDATE space_group SET used = zeroblob(4096)"], [("stolen", None)]),
    "all groups lost": (["DELETE FROM space_group"], [("stolen", None)]),
    "group cut": (["UPDATE space_group SET used = x'ff'"], [("group", None)]),
    "group beyond the image": (
        ["INSERT INTO space_group VALUES (5, zeroblob(4096))"],
        [("group", None)],
    ),
    "hole that is unwritten": (
        [f"UPDATE chunk SET unwritten = CAST(x'18' || zeroblob(511) AS BLOB) WHERE ino = {F}"],
        [("unwritten", F)],
    ),
    "orphan whose map is damaged": (
        [
            f"DELETE FROM dentry WHERE ino = {G}",
            f"UPDATE inode SET nlink = 0 WHERE ino = {G}",
            f"UPDATE chunk SET runs = x'00' WHERE ino = {G}",
        ],
        [("leaked", None), ("orphan", G)],
    ),
    "next inode is in use": (
        ["UPDATE meta SET value = 3 WHERE key = 'next_ino'"],
        [("next_ino", None)],
    ),
    "birth of the next inode": (
        ["INSERT INTO birth VALUES (20, 1)"],
        [("next_ino", None)],
    ),
    "next inode is none": (
        ["UPDATE meta SET value = 1 << 62 WHERE key = 'next_ino'"],
        [("next_ino", None)],
    ),
    "last cookie is lost": (["DELETE FROM sqlite_sequence"], [("cookie", None)]),
    "last cookie is no number": (["UPDATE sqlite_sequence SET seq = 'a'"], [("cookie", None)]),
}


@pytest.mark.parametrize("name", REPAIRABLE)
def test_damage_is_found_then_repaired(image: Path, fsck: Any, name: str) -> None:
    damage, kinds = REPAIRABLE[name]
    sql(image, *damage)
    before = files_beside(image)
    told = fsck()
    assert (told.status, told.kinds) == (LEFT, kinds)
    assert files_beside(image) == before, "(K1)"
    assert all(f["repairable"] and not f["repaired"] for f in told.findings)
    told = fsck("--repair")
    assert (told.status, told.kinds) == (REPAIRED, kinds)
    assert all(f["repaired"] for f in told.findings)
    assert fsck().status == CLEAN
    Volume.open(str(image), str(meta(image)), Options()).close()


def test_repaired_orphan_has_given_its_blocks_back(image: Path, fsck: Any) -> None:
    sql(image, *REPAIRABLE["orphan"][0])
    assert fsck("--repair").status == REPAIRED
    volume = Volume.open(str(image), str(meta(image)), Options())
    assert volume.fs.space.free_count == BLOCK_COUNT - 1 - 4
    assert volume.rows.load(G) is None
    volume.close()


def test_orphan_that_shares_blocks_does_not_take_them_along(image: Path, fsck: Any) -> None:
    """(K2)"""
    runs = f"(SELECT runs FROM chunk WHERE ino = {F})"
    sql(image, *REPAIRABLE["orphan"][0], f"UPDATE chunk SET runs = {runs} WHERE ino = {G}")
    assert fsck("--repair").kinds == [("leaked", None), ("orphan", G)]
    volume = Volume.open(str(image), str(meta(image)), Options())
    assert volume.fs.space.allocate(1, goal=1) == (5, 1)
    volume.close()


def test_index_is_rebuilt_before_the_rest_is_believed(image: Path, fsck: Any) -> None:
    db = sqlite3.connect(meta(image), isolation_level=None)
    db.execute("PRAGMA writable_schema = ON")
    [row] = db.execute("SELECT * FROM sqlite_master WHERE name = 'dentry_ino'")
    db.execute("DELETE FROM sqlite_master WHERE name = 'dentry_ino'")
    db.close()
    sql(image, f"INSERT INTO dentry (parent, name, ino) VALUES ({D}, x'68', {G})")
    db = sqlite3.connect(meta(image), isolation_level=None)
    db.execute("PRAGMA writable_schema = ON")
    db.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
    db.close()
    assert {kind for kind, _ in fsck().kinds} == {"sqlite"}
    told = fsck("--repair")
    assert told.status == REPAIRED
    assert told.of("links")["inode"] == G
    assert fsck().status == CLEAN


# -- damage that is left ---------------------------------------------------------------


def runs_of(*runs: tuple[int, int, int]) -> str:
    """A chunk's runs in SQL, each (start, count, physical)."""
    numbers = [(run[i], size) for i, size in enumerate((2, 2, 8)) for run in runs]
    return f"x'{b''.join(number.to_bytes(size, 'little') for number, size in numbers).hex()}'"


def acl_row(ino: int, name: bytes, value: bytes) -> str:
    return f"INSERT INTO xattr VALUES ({ino}, x'{name.hex()}', x'{value.hex()}')"


def acl_of(mode: int) -> bytes:
    """An ACL with one more user that agrees with a mode."""
    user, group, other = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    entries = Entry(USER_OBJ, user), Entry(USER, 7, 5), Entry(GROUP_OBJ, 7), Entry(MASK, group)
    return Acl((*entries, Entry(OTHER, other))).encode()


LEFT_ALONE: dict[str, tuple[Damage, str, int | None]] = {
    "map cut": ([f"UPDATE chunk SET runs = x'00' WHERE ino = {F}"], "map", F),
    "bitmap cut": ([f"UPDATE chunk SET unwritten = x'00' WHERE ino = {F}"], "map", F),
    "chunk beyond all files": ([f"UPDATE chunk SET number = 1 << 60 WHERE ino = {F}"], "map", F),
    "chunk before the file": ([f"UPDATE chunk SET number = -1 WHERE ino = {F}"], "map", F),
    "superblock in a map": (
        [f"UPDATE chunk SET runs = {runs_of((0, 4, 0))} WHERE ino = {F}"],
        "map",
        F,
    ),
    "outside": (
        [f"UPDATE chunk SET runs = {runs_of((0, 4, 998))} WHERE ino = {F}"],
        "outside",
        F,
    ),
    "far outside": (
        [f"UPDATE chunk SET runs = {runs_of((0, 4, 1 << 63))} WHERE ino = {F}"],
        "outside",
        F,
    ),
    "owned twice": ([f"UPDATE chunk SET runs = {runs_of((0, 4, 3))} WHERE ino = {F}"], "shared", G),
    "owned twice by one": (
        [f"UPDATE chunk SET runs = {runs_of((0, 2, 1), (2, 2, 1))} WHERE ino = {F}"],
        "shared",
        F,
    ),
    "directory with a map": ([f"UPDATE chunk SET ino = {D} WHERE ino = {F}"], "map", D),
    "negative size": ([f"UPDATE inode SET size = -1 WHERE ino = {F}"], "size", F),
    "symlink without target": ([f"UPDATE inode SET target = NULL WHERE ino = {S}"], "target", S),
    "long target": ([f"UPDATE inode SET target = zeroblob(5000) WHERE ino = {S}"], "target", S),
    "file with target": ([f"UPDATE inode SET target = x'61' WHERE ino = {F}"], "target", F),
    "no mode": ([f"UPDATE inode SET mode = -1 WHERE ino = {F}"], "mode", F),
    "number of a control file": (
        [f"UPDATE {table} SET ino = 1 << 62 WHERE ino = {G}" for table in ("inode", "dentry")],
        "mode",
        1 << 62,
    ),
    "access ACL that is none": ([acl_row(F, ACCESS, b"\2")], "acl", F),
    "default ACL that is none": ([acl_row(D, DEFAULT, acl_of(0o755)[:-1])], "acl", D),
    "access ACL of another mode": ([acl_row(F, ACCESS, acl_of(0o664))], "acl", F),
    "owner": ([f"UPDATE inode SET uid = -5 WHERE ino = {F}"], "owner", F),
    "group": ([f"UPDATE inode SET gid = 1 << 32 WHERE ino = {F}"], "owner", F),
    "no type": ([f"UPDATE inode SET mode = 420 WHERE ino = {F}"], "mode", F),
    "no inode": ([f"DELETE FROM inode WHERE ino = {G}"], "dangling", G),
    "no name": ([f"DELETE FROM dentry WHERE ino = {G}"], "nameless", G),
    "deleted directory with names": (
        [f"DELETE FROM dentry WHERE ino = {D}", f"UPDATE inode SET nlink = 0 WHERE ino = {D}"],
        "nameless",
        D,
    ),
    "no parent": ([f"UPDATE dentry SET parent = 77 WHERE ino = {G}"], "parent", G),
    "parent is a file": ([f"UPDATE dentry SET parent = {F} WHERE ino = {G}"], "parent", G),
    "name with a slash": ([f"UPDATE dentry SET name = x'612f62' WHERE ino = {G}"], "name", G),
    "name of a dot": ([f"UPDATE dentry SET name = x'2e2e' WHERE ino = {G}"], "name", G),
    "empty name": ([f"UPDATE dentry SET name = x'' WHERE ino = {G}"], "name", G),
    "cycle": ([f"UPDATE dentry SET parent = {E} WHERE ino = {D}"], "cycle", D),
    "cut off": ([f"DELETE FROM dentry WHERE ino = {D}"], "unreachable", E),
    "two parents": (
        [f"INSERT INTO dentry (parent, name, ino) VALUES (1, x'7a', {E})"],
        "directory",
        E,
    ),
    "root has a name": (
        ["INSERT INTO dentry (parent, name, ino) VALUES (1, x'7a', 1)"],
        "directory",
        1,
    ),
    "no root": (["DELETE FROM inode WHERE ino = 1"], "root", 1),
    "other size": (["UPDATE meta SET value = 99 WHERE key = 'block_count'"], "superblock", None),
    "table is lost": (["DROP TABLE space_group"], "sqlite", None),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_damage_is_found_and_left(image: Path, fsck: Any, name: str) -> None:
    damage, kind, ino = LEFT_ALONE[name]
    sql(image, *damage)
    before = files_beside(image)
    told = fsck()
    assert (told.status, told.of(kind)["inode"]) == (LEFT, ino), told.findings
    assert files_beside(image) == before, "(K1)"
    told = fsck("--repair")
    finding = told.of(kind)
    assert (told.status, finding["repairable"], finding["repaired"]) == (LEFT, False, False)
    assert "\n" not in finding["message"]
    left = [(f["kind"], f["inode"]) for f in told.findings if not f["repaired"]]
    again = fsck("--repair")
    assert (again.status, again.kinds) == (LEFT, left), "all that can be is repaired at once"


def test_acls_that_agree_with_the_mode_are_clean(image: Path, fsck: Any) -> None:
    rows = (F, ACCESS, 0o644), (D, ACCESS, 0o755), (D, DEFAULT, 0o600)
    sql(image, *(acl_row(ino, name, acl_of(mode)) for ino, name, mode in rows))
    assert fsck().status == CLEAN


def test_link_count_that_lost_directories_may_explain_is_left(image: Path, fsck: Any) -> None:
    sql(image, f"DELETE FROM inode WHERE ino = {E}")
    assert fsck("--repair").kinds == [("dangling", E), ("sum", None)]
    sql(image, f"UPDATE inode SET nlink = 9 WHERE ino = {D}")
    told = fsck("--repair")
    assert told.kinds == [("links", D), ("dangling", E)]
    assert not told.of("links")["repairable"]


def test_wrong_sums_are_told_and_repaired_beside_what_cannot_be(image: Path, fsck: Any) -> None:
    """A mount with a wrong count of free blocks goes on to take from it."""
    sql(image, "UPDATE meta SET value = 9 WHERE key = 'free_count'", *LEFT_ALONE["owner"][0])
    assert fsck().kinds == [("owner", F), ("sum", None)]
    told = fsck("--repair")
    assert told.status == LEFT
    assert (told.of("owner")["repaired"], told.of("sum")["repaired"]) == (False, True)
    assert fsck().kinds == [("owner", F)]


@pytest.mark.parametrize(
    "damage",
    [
        ["UPDATE space_group SET used = x'ff'", f"UPDATE chunk SET runs = x'00' WHERE ino = {F}"],
        ["UPDATE meta SET value = 99 WHERE key = 'block_count'"],
    ],
    ids=["group", "superblock"],
)
def test_sums_of_what_cannot_be_counted_stay_as_they_are(
    image: Path, fsck: Any, damage: Damage
) -> None:
    """Also while something else is repaired."""
    sql(image, *damage, "UPDATE meta SET value = 3 WHERE key = 'next_ino'")
    told = fsck("--repair")
    assert told.of("next_ino")["repaired"]
    assert ("sum", None) not in told.kinds
    with closing(sqlite3.connect(meta(image))) as db:
        [[free]] = db.execute("SELECT value FROM meta WHERE key = 'free_count'")
    assert free == BLOCK_COUNT - 1 - 8


def test_leaked_blocks_stay_used_while_a_map_cannot_be_read(image: Path, fsck: Any) -> None:
    """(K2) They may be the file's whose map it is."""
    sql(image, f"UPDATE chunk SET runs = x'00' WHERE ino = {F}")
    told = fsck("--repair")
    assert told.of("leaked")["repaired"] is False
    assert "4 blocks (1-4)" in told.of("leaked")["message"]
    sql(image, f"DELETE FROM chunk WHERE ino = {F}")
    assert fsck("--repair").of("leaked")["repaired"] is True


def with_noise(image: Path, table: str, offset: int, noise: bytes) -> bytes:
    """Damage the top page of a table; returns what the metadata is then."""
    data = bytearray(meta(image).read_bytes())
    with closing(sqlite3.connect(meta(image))) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        [[root_page]] = db.execute(query, (table,))
    at = (root_page - 1) * int.from_bytes(data[16:18], "big") + offset
    data[at : at + len(noise)] = noise
    meta(image).write_bytes(data)
    return bytes(data)


def test_noise_in_a_page_of_the_metadata_is_found(image: Path, fsck: Any) -> None:
    data = with_noise(image, "xattr", 0, b"\xa5" * 100)
    told = fsck("--repair")
    assert {kind for kind, _ in told.kinds} == {"sqlite"}
    assert told.status == LEFT
    assert meta(image).read_bytes() == data


def test_repair_that_meets_a_damaged_page_changes_nothing_and_tells_what_was_found(
    image: Path, fsck: Any
) -> None:
    """The last cookie is recorded in a page whose cell count is lost: it cannot be written."""
    data = with_noise(image, "sqlite_sequence", 4, bytes(3))
    found = fsck()
    assert {kind for kind, _ in found.kinds} == {"sqlite", "cookie"}
    assert found.of("cookie")["repairable"]
    told = fsck("--repair")
    assert told.status == LEFT
    assert told.kinds == found.kinds
    assert not told.of("cookie")["repairable"]
    assert meta(image).read_bytes() == data


# -- what is said ----------------------------------------------------------------------


def test_message_names_path_and_what_can_be_done(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sql(image, f"UPDATE inode SET nlink = 7 WHERE ino = {E}")
    line = f"inode {E} ('/d/e') has link count 7, but 2 is right"
    assert main(["fsck", str(image)]) == LEFT
    assert capsys.readouterr().out == f"{line} (can be repaired)\n{image}: 1 found, 0 repaired\n"
    assert main(["fsck", str(image), "--repair"]) == REPAIRED
    assert capsys.readouterr().out == f"{line} (repaired)\n{image}: 1 found, 1 repaired\n"


@pytest.mark.parametrize("flag", ["-a", "-p", "-y"])
def test_status_of_fsck_fusefs_is_that_of_fsck_8(image: Path, flag: str) -> None:
    sql(image, f"UPDATE inode SET nlink = 7 WHERE ino = {E}")
    assert main(["fsck.fusefs", "-n", str(image)]) == LEFT
    assert main(["fsck.fusefs", flag, str(image)]) == REPAIRED
    assert main(["fsck.fusefs", flag, str(image)]) == CLEAN
    assert main(["fsck.fusefs", flag, f"{image}.missing"]) == NOT_CHECKED


@pytest.mark.parametrize("lost", [">/dev/full", ">&-"])
def test_clean_image_that_nobody_was_told_of_is_not_repaired(image: Path, lost: str) -> None:
    """1 would say so, and is what other commands fail with."""
    program = "import sys; from fusefs.commands.main import main; sys.exit(main())"
    command = f"'{sys.executable}' -c '{program}' fsck.fusefs -n '{image}' {lost}"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == NOT_CHECKED


@pytest.mark.parametrize("flags", [[], ["--repair"]], ids=["check", "repair"])
@pytest.mark.parametrize(
    ("case", "saying"),
    [
        ("mounted", "already mounted, or in use"),
        ("not an image", "not a fusefs image, or its first block is damaged"),
        ("cut", "truncated"),
        ("no image", "cannot open the image"),
        ("no metadata", "disk.img.meta: no such metadata; "),
        ("another's metadata", "disk.img.meta: belongs to another image"),
        ("no SQLite", "disk.img.meta: is not fusefs metadata"),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    image: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    case: str,
    saying: str,
) -> None:
    monkeypatch.setattr("fusefs.store.volume.LOCK_WAIT_S", 0.0)
    volume = None
    match case:
        case "mounted":
            volume = Volume.open(str(image), str(meta(image)), Options())
        case "not an image":
            image.write_bytes(b"x" * 5000)
        case "cut":
            image.write_bytes(image.read_bytes()[:5000])
        case "no image":
            image.unlink()
        case "no metadata":
            meta(image).unlink()
        case "another's metadata":
            sql(
                image,
                "UPDATE meta SET value = '6f756f75-0000-4000-8000-000000000001' WHERE key = 'uuid'",
            )
        case "no SQLite":
            meta(image).write_bytes(b"x" * 5000)
    assert main(["fsck", str(image), *flags]) == NOT_CHECKED
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert saying in err
    if volume is not None:
        volume.close()


HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA locking_mode = EXCLUSIVE")
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("flags", [[], ["--repair"]], ids=["check", "repair"])
def test_metadata_held_by_another_process_are_left_alone(
    image: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    """As those of a mounted copy of the image are, which has another lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, meta(image)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert main(["fsck", str(image), *flags]) == NOT_CHECKED
    assert "disk.img.meta: is in use; unmount the image first" in capsys.readouterr().err
    holder.communicate()


def test_fsck_takes_no_mount_options(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsck", str(image), "-o", "invalidate=after"]) == 2
    assert "fsck does not take 'invalidate'" in capsys.readouterr().err


# -- sets of blocks, and large maps ----------------------------------------------------


def test_blocks_cross_groups() -> None:
    blocks = Blocks()
    assert not blocks.add(GROUP_BLOCKS - 2, 4)
    assert blocks.add(GROUP_BLOCKS + 1, 4)
    assert blocks.touches(0, GROUP_BLOCKS - 1)
    assert not blocks.touches(GROUP_BLOCKS + 5, 10 * GROUP_BLOCKS)
    assert set(blocks.groups) == {0, 1}


def test_file_of_more_chunks_than_are_read_at_once_is_clean(image: Path, fsck: Any) -> None:
    volume = Volume.open(str(image), str(meta(image)), Options())
    space, extents = volume.fs.space, ExtentMap()
    for number in range(600):
        first, count = space.allocate(1)
        extents.allocate((number + 1) * CHUNK_BLOCKS, count, first)
    save_map(volume.metadata, F, extents)
    volume.metadata.change("UPDATE inode SET blocks = 604 WHERE ino = ?", F)
    space.begin_commit()
    save_space(volume.metadata, space)
    volume.metadata.commit()
    volume.close()
    assert fsck().findings == []


def test_many_directories_cut_off_take_no_time(image: Path, fsck: Any) -> None:
    """A chain of them under a cycle is walked once, not once from each."""
    rows = range(100, 5100)
    inodes = [f"({i}, {DIRECTORY}, 3, 0, 0, 0, 0, 0, 1, 1, 1, NULL)" for i in rows]
    names = [f"({i - 1}, x'{i:04x}', {i})" for i in rows]
    sql(
        image,
        f"INSERT INTO inode VALUES {', '.join(inodes)}",
        f"INSERT INTO dentry (parent, name, ino) VALUES {', '.join(names)}",
        "UPDATE dentry SET parent = 101 WHERE ino = 100",
        "UPDATE meta SET value = 6000 WHERE key = 'next_ino'",
    )
    told = fsck()
    assert told.of("cycle")["inode"] == 100
    assert sum(kind == "unreachable" for kind, _ in told.kinds) == 4998


def test_directories_of_no_known_type_are_told(image: Path, fsck: Any) -> None:
    """Their mode is negative, which the functions of stat refuse."""
    sql(image, "UPDATE inode SET mode = -1")
    assert {"root", "mode", "parent"} <= {kind for kind, _ in fsck().kinds}
