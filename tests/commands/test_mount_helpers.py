"""What mount(8), umount(8), mkfs(8) and fsck(8) say to their helpers, and what we make of it."""

import os
import re
import sys
from pathlib import Path

import pytest

from fusefs.commands.errors import UsageError
from fusefs.commands.helpers import HELPERS, Statuses
from fusefs.commands.main import main
from fusefs.commands.mount_options import split_options


def translated(line: str) -> list[str]:
    name, *words = line.split()
    return HELPERS[name].translate(words)


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("mount.fusefs /i /m -o rw", "mount -o rw /i /m"),
        (
            "mount.fusefs /i /m -s -f -n -v -o rw,size=1m",
            "mount -o rw,size=1m --dry-run -n -s /i /m",
        ),
        ("mount.fusefs /i /m -o ro -t fuse.fusefs", "mount -o ro /i /m"),
        ("umount.fusefs /m", "umount /m"),
        ("umount.fusefs /m -n -l -f -v -r -t fuse.fusefs", "umount -l -f -r /m"),
        ("mkfs.fusefs /i", "mkfs /i"),
        ("mkfs.fusefs -v -f /i 64m", "mkfs -o size=64m --force /i"),
        *((f"mkfs.fusefs {flag} /i", "mkfs --force /i") for flag in ("-f", "-F", "--force")),
        ("mkfs.fusefs /i 2048", "mkfs -o size=2097152 /i"),
        ("mkfs.fusefs -b 4096 /i 1024", "mkfs -o block_size=4096 -o size=4194304 /i"),
        ("mkfs.fusefs -o block_size=512 /i 4096", "mkfs -o block_size=512 -o size=2097152 /i"),
        ("fsck.fusefs /i", "fsck /i"),
        ("fsck.fusefs -a /i", "fsck --repair /i"),
        ("fsck.fusefs -y -f -o metadata=/x /i", "fsck --repair -o metadata=/x /i"),
        ("fsck.fusefs -n -C0 /i", "fsck /i"),
        ("fsck.fusefs -a --json /i", "fsck --repair --json /i"),
    ],
)
def test_words_become_ours(line: str, ours: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    assert " ".join(translated(line)) == ours


@pytest.mark.parametrize(
    ("uid", "options", "flags"),
    [
        (0, "rw", {"suid", "dev"}),
        (0, "rw,nosuid", {"nosuid", "dev"}),
        (0, "rw,user,noexec,nosuid,nodev", {"noexec", "nosuid", "nodev"}),
        (0, "rw,nosuid,nodev,user,exec", {"nosuid", "nodev"}),
        (1000, "rw", set()),
    ],
)
def test_root_mounts_with_the_defaults_of_mount_8(
    uid: int, options: str, flags: set[str], monkeypatch: pytest.MonkeyPatch
):
    """suid and dev, which it does not pass on; a user is not given them by anybody."""
    monkeypatch.setattr(os, "getuid", lambda: uid)
    words = translated(f"mount.fusefs /i /m -o {options}")
    given = [words[place + 1] for place, word in enumerate(words) if word == "-o"]
    assert set(split_options(given)[2]) == flags


@pytest.mark.parametrize(
    ("line", "saying"),
    [
        ("mount.fusefs /i", "required: mountpoint"),
        ("mount.fusefs /i /m -x", "unrecognized arguments: -x"),
        ("mount.fusefs /i /m -N /proc/1/ns/mnt", "-N is not supported"),
        ("umount.fusefs", "required: mountpoint"),
        ("fsck.fusefs -n -y /i", "only one of"),
        ("mkfs.fusefs", "required: image; see 'mkfs.fusefs --help'"),
        ("mkfs.fusefs /i 10", "^10 blocks of 1k are 10k, but an image has a size from 1m"),
        ("mkfs.fusefs -b 4k /i 10", "^10 blocks of 4k are 40k, but an image has a size from 1m"),
        ("mkfs.fusefs -o size=64m /i 128m", "given twice: -o size=64m, and 128m"),
        *(
            (f"mkfs.fusefs {left}", r"loses one before its options: say mkfs -t fusefs -o")
            for left in ("-o size=8m", "-f", "-b 1024")
        ),
    ],
)
def test_what_is_wrong_is_said(line: str, saying: str):
    with pytest.raises(UsageError, match=saying):
        translated(line)


def test_statuses_are_in_the_documents():
    """docs/mount.md, as the last numbers of each row: if it failed, and if the line is wrong."""
    text = (Path(__file__).parents[2] / "docs/mount.md").read_text()
    rows = re.findall(r"^\| `(\w+\.fusefs)` \|.*\| (\d+)[^|]*\| (\d+) \|$", text, re.MULTILINE)
    assert {
        name: Statuses(usage=int(usage), failed=int(failed)) for name, failed, usage in rows
    } == {name: helper.statuses for name, helper in HELPERS.items()}


@pytest.mark.parametrize("name", HELPERS)
def test_helpers_have_help(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "argv", [f"/srv/a folder of some length/{'long' * 20}/mount_tool.py"])
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {name} ")
    assert f"/mount_tool.py {name.removesuffix('.fusefs')} --help' says more\n" in said
