"""Names and attributes on a real mount, as any program sees them."""

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import (
    FALLOC_KEEP_SIZE,
    NOBODY,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    all_succeed,
    as_nobody,
    direct_read_fd,
    eventually,
    fails_with,
    fallocate,
    needs_root,
    opened,
    python,
    renameat2,
    run,
)
from mounted.mounting import Mount

pytestmark = pytest.mark.mounted

SHARED_OPTIONS = {"allow_other": os.getuid() == 0}

CONTROL_CHANGES = [
    *("create", "mkdir", "unlink", "rmdir", "move-away", "move-in", "move-over"),
    *("link", "chmod", "setxattr", "write"),
]


# -- making names --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rdev"),
    [
        pytest.param(stat.S_IFREG, 0, id="regular"),
        pytest.param(stat.S_IFIFO, 0, id="fifo"),
        pytest.param(stat.S_IFSOCK, 0, id="socket"),
        pytest.param(stat.S_IFCHR, os.makedev(5, 1), id="char", marks=needs_root),
        pytest.param(stat.S_IFBLK, os.makedev(259, 1048575), id="block", marks=needs_root),
    ],
)
def test_mknod_makes_each_kind_of_file(top: Path, kind: int, rdev: int):
    os.mknod(top / "node", kind | 0o640, rdev)
    found = os.lstat(top / "node")
    assert stat.S_IFMT(found.st_mode) == kind
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert (found.st_rdev, found.st_nlink, found.st_size) == (rdev, 1, 0)


def test_fifo_carries_bytes_between_processes(top: Path):
    os.mkfifo(top / "fifo")
    reader = python("import sys; print(open(sys.argv[1]).read())", top / "fifo")
    with open(top / "fifo", "w") as fifo:
        fifo.write("through the kernel")
    assert all_succeed([reader]) == ["through the kernel\n"]


def test_socket_accepts_connections(top: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(top)  # an AF_UNIX path holds 107 bytes only
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        server.listen()
        client.connect("socket")
    assert stat.S_ISSOCK(os.stat("socket").st_mode)
    monkeypatch.undo()


def test_mkdir_and_rmdir_count_links(top: Path):
    """(J1) a directory has 2 links, and one more for each directory in it."""
    (top / "a").mkdir(mode=0o700)
    (top / "a/b").mkdir()
    (top / "a/file").touch()
    assert (top / "a").stat().st_nlink == 3
    with fails_with(errno.ENOTEMPTY):
        (top / "a").rmdir()
    (top / "a/file").unlink()
    (top / "a/b").rmdir()
    (top / "a").rmdir()
    assert os.listdir(top) == []


def test_umask_is_applied_to_new_names(top: Path):
    old = os.umask(0o027)
    try:
        (top / "dir").mkdir(mode=0o777)
        (top / "file").touch(mode=0o666)
    finally:
        os.umask(old)
    assert stat.S_IMODE((top / "dir").stat().st_mode) == 0o750
    assert stat.S_IMODE((top / "file").stat().st_mode) == 0o640


def test_excl_is_won_by_one_process(top: Path):
    """O_EXCL: of many processes that make the same names, one each makes it."""
    script = """
import os, sys
won = 0
for i in range(100):
    try:
        os.close(os.open(f"{sys.argv[1]}/{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        won += 1
    except FileExistsError:
        pass
print(won)
"""
    clients = [python(script, top) for _ in range(4)]
    assert sum(map(int, all_succeed(clients))) == 100
    assert len(os.listdir(top)) == 100


def test_names_of_255_bytes_and_any_byte_are_kept(top: Path):
    names = {b"n" * 255, bytes(range(1, 47)) + bytes(range(48, 256)), " é\n".encode()}
    for name in names:
        Path(os.fsdecode(bytes(top) + b"/" + name)).touch()
    assert set(os.listdir(bytes(top))) == names
    with fails_with(errno.ENAMETOOLONG):
        (top / ("n" * 256)).touch()


# -- links ---------------------------------------------------------------------------


def test_hard_links_are_one_file(top: Path):
    (top / "a").write_bytes(b"one")
    os.link(top / "a", top / "b")
    (top / "b").write_bytes(b"another")
    assert (top / "a").read_bytes() == b"another"
    assert (top / "a").stat().st_nlink == 2
    (top / "a").unlink()
    assert (top / "b").stat().st_nlink == 1
    assert (top / "b").read_bytes() == b"another"


def test_link_to_a_directory_is_refused(top: Path):
    (top / "dir").mkdir()
    with pytest.raises(PermissionError):
        os.link(top / "dir", top / "again")


def test_readlink_gives_the_target_as_it_was(top: Path):
    target = b"no/such/" + b"t" * 4000
    os.symlink(target, bytes(top / "link"))
    assert os.readlink(bytes(top / "link")) == target
    assert os.lstat(top / "link").st_size == len(target)
    (top / "file").write_text("content")
    (top / "good").symlink_to("file")
    assert (top / "good").read_text() == "content"


# -- renaming ------------------------------------------------------------------------


def test_rename_replaces_and_keeps_the_replaced_open(top: Path):
    (top / "old").write_bytes(b"old")
    (top / "new").write_bytes(b"new")
    with opened(top / "new", os.O_RDONLY) as fd:
        (top / "old").rename(top / "new")
        assert os.pread(fd, 10, 0) == b"new"
        assert os.fstat(fd).st_nlink == 0
    assert os.listdir(top) == ["new"]
    assert (top / "new").read_bytes() == b"old"


def test_rename_noreplace_refuses_an_existing_name(top: Path):
    (top / "a").write_bytes(b"a")
    (top / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        renameat2(top / "a", top / "b", RENAME_NOREPLACE)
    assert (top / "b").read_bytes() == b"b"
    renameat2(top / "a", top / "c", RENAME_NOREPLACE)
    assert sorted(os.listdir(top)) == ["b", "c"]


def test_rename_exchange_swaps_a_file_and_a_directory(top: Path):
    (top / "dir").mkdir()
    (top / "dir/inside").touch()
    (top / "sub").mkdir()
    (top / "sub/file").write_bytes(b"file")
    renameat2(top / "dir", top / "sub/file", RENAME_EXCHANGE)
    assert (top / "dir").read_bytes() == b"file"
    assert os.listdir(top / "sub/file") == ["inside"]
    assert (top / "sub").stat().st_nlink == 3
    assert top.stat().st_nlink == 3
    with pytest.raises(FileNotFoundError):
        renameat2(top / "dir", top / "missing", RENAME_EXCHANGE)


def test_rename_leaves_a_whiteout(top: Path):
    (top / "a").touch()
    (top / "b").write_bytes(b"gone")
    renameat2(top / "a", top / "b", RENAME_WHITEOUT)
    assert (top / "b").read_bytes() == b""
    left = (top / "a").lstat()
    assert (left.st_mode, left.st_rdev, left.st_uid) == (stat.S_IFCHR, 0, os.geteuid())
    (top / "a").unlink()
    assert os.listdir(top) == ["b"]


def test_rename_into_own_descendant_is_refused(top: Path):
    """(J2) a directory is not among its own descendants."""
    (top / "a/b").mkdir(parents=True)
    with fails_with(errno.EINVAL):
        (top / "a").rename(top / "a/b/c")


# -- reading directories -------------------------------------------------------------


def test_readdir_of_a_thousand_entries_is_stable_under_deletion(top: Path):
    """A name that is there from first to last is returned once, whatever is removed.

    The names are long, so that the kernel asks for several pieces.
    """
    names = [f"{i:04}" + "n" * 200 for i in range(1000)]
    for name in names:
        (top / name).touch()
    kept = set(names[::3])
    seen = []
    with os.scandir(top) as entries:
        for entry in entries:
            seen.append(entry.name)
            if len(seen) == 10:
                for name in names:
                    if name not in kept:
                        (top / name).unlink()
    assert len(seen) == len(set(seen))
    assert kept <= set(seen)
    assert set(os.listdir(top)) == kept


def test_removing_each_entry_as_it_is_read_leaves_none(top: Path):
    """What rm -r does."""
    for i in range(1000):
        (top / f"{i:04}{'n' * 200}").touch()
    with os.scandir(top) as entries:
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(top) == []


def test_readdir_gives_kind_and_inode_of_each_entry(top: Path):
    (top / "dir").mkdir()
    (top / "file").touch()
    (top / "link").symlink_to("file")
    with os.scandir(top) as entries:
        for entry in entries:
            found = os.lstat(entry.path)
            assert entry.inode() == found.st_ino
            assert entry.is_dir(follow_symlinks=False) == stat.S_ISDIR(found.st_mode)
            assert entry.is_symlink() == stat.S_ISLNK(found.st_mode)


# -- extended attributes -------------------------------------------------------------


def test_xattrs_are_set_listed_replaced_and_removed(top: Path):
    file = top / "file"
    file.touch()
    os.setxattr(file, "user.a", b"first")
    os.setxattr(file, "user.empty", b"")
    os.setxattr(file, "user.large", bytes(range(256)) * 128)
    os.setxattr(file, "user.a", b"second")
    assert sorted(os.listxattr(file)) == ["user.a", "user.empty", "user.large"]
    assert os.getxattr(file, "user.a") == b"second"
    assert os.getxattr(file, "user.empty") == b""
    assert os.getxattr(file, "user.large") == bytes(range(256)) * 128
    os.removexattr(file, "user.a")
    for call in (os.getxattr, os.removexattr):
        with fails_with(errno.ENODATA):
            call(file, "user.a")


LIST = "import os, sys; {become}; print(sorted(os.listxattr(sys.argv[1])))"
WITHOUT_SYS_ADMIN = (
    "import ctypes; ctypes.CDLL(None).prctl(24, 21)"  # PR_CAPBSET_DROP: from the next exec on
    "; os.execv(sys.executable, [sys.executable, '-c', {again!r}, *sys.argv[1:]])"
)


@needs_root
@pytest.mark.parametrize(
    ("script", "seen"),
    [
        pytest.param(LIST.format(become="pass"), ["trusted.b", "user.a"], id="root"),
        pytest.param(LIST.format(become=f"os.setuid({NOBODY})"), ["user.a"], id="user"),
        pytest.param(
            LIST.format(become=WITHOUT_SYS_ADMIN.format(again=LIST.format(become="pass"))),
            ["user.a"],
            id="root-without-CAP_SYS_ADMIN",
        ),
    ],
)
def test_trusted_names_are_listed_to_whom_they_can_be_read(
    mount: Callable[..., Mount], script: str, seen: list[str]
):
    """simple_xattr_list(): else rsync -X and cp --preserve=xattr of a user fail."""
    m = mount(size="16m", allow_other=True)
    file = m.path / "file"
    file.touch()
    os.setxattr(file, "user.a", b"")
    os.setxattr(file, "trusted.b", b"")
    m.path.chmod(0o755)
    assert run(sys.executable, "-c", script, "file", cwd=m.path).strip() == str(seen)


def test_xattr_create_and_replace_look_first(top: Path):
    (top / "file").touch()
    with fails_with(errno.ENODATA):
        os.setxattr(top / "file", "user.a", b"", os.XATTR_REPLACE)
    os.setxattr(top / "file", "user.a", b"kept", os.XATTR_CREATE)
    with pytest.raises(FileExistsError):
        os.setxattr(top / "file", "user.a", b"", os.XATTR_CREATE)
    assert os.getxattr(top / "file", "user.a") == b"kept"


# -- attributes ----------------------------------------------------------------------


def test_statfs_has_one_unit(mount: Callable[..., Mount]):
    """As XFS: whoever multiplies by either of the two gets the same size."""
    stats = os.statvfs(mount(size="16m", block_size="512").path)
    assert stats.f_bsize == stats.f_frsize == 512
    assert stats.f_blocks * stats.f_bsize == (16 << 20) - 512


def test_statfs_counts_blocks_of_the_image(mount: Callable[..., Mount]):
    m = mount(size="16m", block_size="4k")
    empty = os.statvfs(m.path)
    assert (empty.f_frsize, empty.f_namemax) == (4096, 255)
    assert empty.f_blocks == 4096 - 1  # the superblock is no data block
    assert empty.f_bfree == empty.f_bavail == empty.f_blocks
    (m.path / "file").write_bytes(bytes(1 << 20))
    assert os.statvfs(m.path).f_bfree == empty.f_bfree - 256
    (m.path / "file").unlink()
    eventually(lambda: _after_commit(m.path).f_bfree == empty.f_bfree, "the blocks are free")


def _after_commit(directory: Path) -> os.statvfs_result:
    with opened(directory, os.O_RDONLY) as fd:
        os.fsync(fd)
    return os.statvfs(directory)


def test_read_only_mount_refuses_changes(mount: Callable[..., Mount]):
    m = mount()
    (m.path / "file").write_bytes(b"content")
    m.remount(ro=True)
    for change in (
        lambda: (m.path / "file").write_bytes(b""),
        lambda: (m.path / "file").unlink(),
        lambda: (m.path / "new").mkdir(),
        lambda: os.truncate(m.path / "file", 0),
        lambda: os.setxattr(m.path / "file", "user.a", b""),
    ):
        with fails_with(errno.EROFS):
            change()
    assert (m.path / "file").read_bytes() == b"content"


# -- open files ----------------------------------------------------------------------


def test_unlinked_file_is_usable_until_its_last_close(mounted: Mount):
    free = mounted.status()["space"]["free"]
    with opened(mounted.path / "file", os.O_RDWR | os.O_CREAT) as first:
        with opened(mounted.path / "file", os.O_RDWR | os.O_DIRECT) as second:
            (mounted.path / "file").unlink()
            assert os.listdir(mounted.path) == []
            os.pwrite(first, b"u" * 8192, 0)
            assert direct_read_fd(second, 8192) == b"u" * 8192
        os.ftruncate(first, 1 << 20)
        os.fsync(first)
        assert os.pread(first, 4096, 4096) == b"u" * 4096
        assert os.fstat(first).st_nlink == 0
        assert mounted.status()["inodes"]["total"] == 2
        assert mounted.status()["space"]["free"] < free

    def is_gone() -> bool:
        _after_commit(mounted.path)
        status = mounted.status()
        return status["space"]["free"] == free and status["inodes"]["total"] == 1

    eventually(is_gone, "the deleted file's inode and blocks are free")


def test_trunc_frees_the_blocks_at_open(mounted: Mount):
    """O_TRUNC arrives in the open flags, with no setattr."""
    file = mounted.path / "file"
    file.write_bytes(b"t" * 100_000)
    with opened(file, os.O_RDWR | os.O_TRUNC) as fd:
        assert os.fstat(fd).st_size == os.fstat(fd).st_blocks == 0
        os.ftruncate(fd, 100_000)
        assert os.read(fd, 200_000) == bytes(100_000)


def test_trunc_of_an_empty_file_frees_what_was_preallocated(top: Path):
    fallocate(top / "file", FALLOC_KEEP_SIZE, 0, 1 << 20)
    assert (top / "file").stat().st_blocks == 2048
    (top / "file").open("w").close()
    assert (top / "file").stat().st_blocks == 0


@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["buffered", "direct"])
def test_appends_of_many_processes_keep_whole_records(top: Path, flags: int):
    script = """
import mmap, os, sys
path, flags, me = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags, 0o644)
record = mmap.mmap(-1, 512)
record[:] = bytes([me]) * 512
for _ in range(50):
    assert os.write(fd, record) == 512
"""
    all_succeed([python(script, top / "file", flags, me) for me in range(1, 5)])
    content = (top / "file").read_bytes()
    records = [content[pos : pos + 512] for pos in range(0, len(content), 512)]
    assert sorted(records) == sorted(bytes([me]) * 512 for me in range(1, 5) for _ in range(50))


# -- permissions ---------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(
    ("mode", "script", "allowed"),
    [
        (0o600, "cat file", False),
        (0o604, "cat file", True),
        (0o604, "echo x >> file", False),
        (0o606, "echo x >> file", True),
        (0o604, "chmod 666 file", False),
        (0o644, "./file", False),
        (0o604, "touch -d @0 file", False),
        (0o604, "rm -f file", False),
        (0o604, "ln -s x link", False),
        (0o604, "ls ../.fusefs", False),
        (0o604, "cat ../.fusefs/status", False),
        (0o604, "mkdir open/dir && rmdir open/dir", True),
    ],
)
def test_permission_bits_bind_other_users(top: Path, mode: int, script: str, allowed: bool):
    """default_permissions, with allow_other."""
    (top / "file").write_text("#!/bin/sh\nexit 0\n")
    (top / "file").chmod(mode)
    (top / "open").mkdir()
    (top / "open").chmod(0o777)
    status, said = as_nobody(script, top)
    assert (status == 0) == allowed, said
    if not allowed:
        assert "denied" in said or "not permitted" in said


@needs_root
def test_other_users_are_kept_out_without_allow_other(mounted: Mount):
    (mounted.path / "file").write_text("content")
    (mounted.path / "file").chmod(0o644)
    status, said = as_nobody("cat file", mounted.path)
    assert status != 0, said


@needs_root
def test_new_names_belong_to_their_maker(top: Path):
    (top / "open").mkdir()
    os.chown(top / "open", 0, 1234)
    (top / "open").chmod(0o2777)
    assert as_nobody("touch open/file && mkdir open/dir", top)[0] == 0
    file, directory = (top / "open/file").stat(), (top / "open/dir").stat()
    assert (file.st_uid, file.st_gid) == (NOBODY, 1234)
    assert directory.st_mode & stat.S_ISGID


# -- the control directory -----------------------------------------------------------


def test_control_directory_is_not_listed_and_belongs_to_the_owner(shared: Mount):
    top = shared.path
    assert ".fusefs" not in os.listdir(top)
    directory = (top / ".fusefs").stat()
    assert stat.S_IMODE(directory.st_mode) == 0o500
    assert directory.st_uid == os.getuid()
    assert {"status", "trace", "log", "invalidate"} <= set(os.listdir(top / ".fusefs"))
    assert stat.S_IMODE((top / ".fusefs/status").stat().st_mode) == 0o400
    assert stat.S_IMODE((top / ".fusefs/invalidate").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / ".fusefs/new").touch(),
        lambda top: (top / ".fusefs/new").mkdir(),
        lambda top: (top / ".fusefs/status").unlink(),
        lambda top: (top / ".fusefs").rmdir(),
        lambda top: (top / ".fusefs").rename(top / "moved"),
        lambda top: (top / "file").rename(top / ".fusefs/file"),
        lambda top: (top / "file").rename(top / ".fusefs"),
        lambda top: os.link(top / ".fusefs/status", top / "status"),
        lambda top: (top / ".fusefs/invalidate").chmod(0o666),
        lambda top: os.setxattr(top / ".fusefs/status", "user.a", b""),
        lambda top: (top / ".fusefs/status").write_text("{}"),
    ],
    ids=CONTROL_CHANGES,
)
def test_control_directory_cannot_be_changed(shared: Mount, change: Callable[[Path], object]):
    top = shared.path
    (top / "file").touch()
    names, control_names = os.listdir(top), os.listdir(top / ".fusefs")
    with fails_with(errno.EPERM, errno.EACCES, errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR):
        change(top)
    assert os.listdir(top) == names
    assert os.listdir(top / ".fusefs") == control_names
