"""Witnesses of the gallery on a mount: real processes, and the outcome of the token each time."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mounted.clients import PROGRAM_TIMEOUT_S
from mounted.commands import FAILED, MOUNT_TOOL, USAGE, refused, tool
from mounted.mounting import Mount

import fusefs
from fusefs.commands.litmus_text import orders_of
from fusefs.explore.answer import ended, task_name
from fusefs.explore.token import Token, parse_token
from fusefs.explore.token import replay as replayed
from fusefs.litmus.condition import atoms
from fusefs.litmus.parse import parse
from fusefs.litmus.test import DISK, SIZE, Litmus, Outcome
from fusefs.model.orders import ROWS
from fusefs.trial.replay import replay as replay_on_mount
from fusefs.trial.turns import Turn

pytestmark = pytest.mark.mounted

GALLERY = Path(fusefs.__file__).parent / "litmus" / "gallery"
WITNESSES = Path(__file__).parents[1] / "explore" / "witnesses.txt"

RUNS_LONG = 20

BUG = "post-before-end", "post_before_end"

NOT_ON_A_MOUNT = {
    "aio-no-post": "which writes are asynchronous",
    "append-range-early": "says where an append begins",
    "busy-drop-silent": "which writes are asynchronous",
    "fallback-undrained": "which writes are asynchronous",
    "fallocate-beside-dio": "which writes are asynchronous",
    "fault-in-the-window": "mapped pages are the kernel's own",
    "holes-by-cache": "cache in the question",
    "isize-unlocked": "lets nobody else write while a write makes a FUSE file longer",
    "page-granular-dirty": "which writes are asynchronous",
    "post-in-worker": "programs would hang in the mount",
    "pre-failure-ignored": "mapped pages are the kernel's own",
    "read-drops": "cache in the question",
    "stale-iomap-in-write": "the kernel's FUSE has its lock of a file to itself for fsync",
    "truncate-writeback-first": "mapped pages are the kernel's own",
    "unaligned-unwaited": "which writes are asynchronous",
    "written-at-allocation": "hold zeros",
    "zero-range-ignores-dirty": "mapped pages are the kernel's own",
}
"""Files of which no witness can be shown, and why."""


def tokens() -> list[Token]:
    return [parse_token(line) for line in WITNESSES.read_text().splitlines()]


def is_shown(token: Token) -> bool:
    """Whether a mount has all orders of a token."""
    hidden = [name for name in orders_of(token.era) if ROWS[name].on_mount]
    return token.name not in NOT_ON_A_MOUNT and not hidden


def mounted_for(mount: Callable[..., Mount], name: str) -> Mount:
    """With the machine of a file."""
    machine = parse((GALLERY / f"{name}.litmus").read_text(), name).machine
    sizes = {"block_size": machine.block, "page_size": machine.page}
    return mount(size="64m", readahead=machine.readahead, **sizes)


SHOWN = [token for token in tokens() if is_shown(token)]
FIRST = list({token.name: token for token in reversed(SHOWN)}.values())


def replay(m: Mount, token: Token, runs: int) -> None:
    path = GALLERY / f"{token.name}.litmus"
    result = tool(
        *("litmus", path, "--replay", token, "--on", m.path, "--runs", runs, "--json"),
    )
    assert result.returncode == 0, result.stderr + result.stdout
    report = json.loads(result.stdout)
    assert (report["same"], report["runs"], report["differing"]) == (runs, runs, {})


@pytest.mark.parametrize("token", FIRST, ids=lambda token: token.name)
def test_witness_of_each_file_replays(mount: Callable[..., Mount], token: Token):
    m = mounted_for(mount, token.name)
    had = m.status()["options"]
    replay(m, token, 3)
    assert m.status()["options"] == had
    assert list(m.path.iterdir()) == []


@pytest.mark.long
@pytest.mark.parametrize("token", SHOWN, ids=lambda token: f"{token.name}-{token.era}")
def test_every_witness_replays_each_time(mount: Callable[..., Mount], token: Token):
    replay(mounted_for(mount, token.name), token, RUNS_LONG)


@pytest.mark.long
def test_the_mail_s_witness_replays_100_of_100(mount: Callable[..., Mount]):
    (token,) = [each for each in SHOWN if (each.name, each.era) == BUG]
    replay(mounted_for(mount, token.name), token, 100)


def wrong(litmus: Litmus, outcome: Outcome, kind: str) -> tuple[Outcome, str]:
    """An outcome with another value of a file, and what a run on a mount ends with there."""
    (name,) = [file.name for file in litmus.machine.files]
    true = outcome[kind, name]
    return {**outcome, (kind, name): f"{true[:-1]}9"}, f"{kind} {name}={true}"


@pytest.mark.parametrize("kind", [SIZE, DISK])
def test_other_end_of_a_file_is_a_difference_whatever_the_question_asks(
    mount: Callable[..., Mount], kind: str
):
    """The question is about what a read has got; the search knows how the file ends as well."""
    (token,) = [each for each in SHOWN if (each.name, each.era) == BUG]
    m = mounted_for(mount, token.name)
    litmus = parse((GALLERY / f"{token.name}.litmus").read_text(), token.name)
    assert not [atom for atom in atoms(litmus.question.condition) if atom.kind == kind]
    execution, made = replayed(litmus, token, orders_of)
    outcome = dict(ended(litmus, execution)[0])
    execution.close()
    turns = [Turn(task_name(litmus, turn.task), turn.name) for turn in made]
    other, true = wrong(litmus, outcome, kind)
    for expected, differing in ((outcome, {}), (other, {true: 2})):
        found = replay_on_mount(litmus, turns, expected, [BUG[1]], m.path, 2)
        assert found.differing == differing


def test_mount_of_an_era_is_of_that_era_afterwards(mount: Callable[..., Mount]):
    """The names of its orders alone would be those of several eras, or of none."""
    (token,) = [each for each in SHOWN if (each.name, each.era) == BUG]
    m = mounted_for(mount, token.name)
    m.set(era="linux-4.10")
    had = m.status()["options"]
    assert had["era"] == "linux-4.10"
    replay(m, token, 1)
    assert m.status()["options"] == had


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_mount_has_what_it_had_although_the_replay_was_told_to_end(
    mount: Callable[..., Mount], number: signal.Signals
):
    (token,) = [each for each in SHOWN if (each.name, each.era) == BUG]
    m = mounted_for(mount, token.name)
    had = m.status()["options"]
    words = "litmus", GALLERY / f"{token.name}.litmus", "--replay", token, "--on", m.path
    with subprocess.Popen([*MOUNT_TOOL, *map(str, words), "--runs", "1000000"]) as replaying:
        deadline = time.monotonic() + PROGRAM_TIMEOUT_S
        while not list(m.path.glob("litmus-*/[1-9]*")):
            assert time.monotonic() < deadline, "no run has begun"
            time.sleep(0.01)
        assert m.get("invalidate") == "before"
        replaying.send_signal(number)
        assert replaying.wait(PROGRAM_TIMEOUT_S) == 128 + number
    assert m.status()["options"] == had
    assert list(m.path.iterdir()) == []


def test_what_nobody_outside_can_see_is_neither_compared_nor_said(mount: Callable[..., Mount]):
    """Nor what a look would write back first."""
    token = next(each for each in SHOWN if each.name == "unlocked-reads")
    m = mounted_for(mount, token.name)
    words = "litmus", GALLERY / f"{token.name}.litmus", "--replay", token, "--on", m.path
    outcome = json.loads(tool(*words, "--runs", 1, "--json").stdout)["outcome"]
    assert "size f=" in outcome
    assert "cache f=" not in outcome
    assert "disk f=" not in outcome


HIDDEN = {token.name: token for token in tokens() if token.name in NOT_ON_A_MOUNT}


@pytest.mark.parametrize("name", NOT_ON_A_MOUNT)
def test_what_no_mount_can_show_is_one_line(mounted: Mount, name: str):
    token, path = HIDDEN[name], GALLERY / f"{name}.litmus"
    wanted = NOT_ON_A_MOUNT[name]
    if "cache" in wanted:
        pytest.skip("it is asked of the machine: see the test below")
    refused(FAILED, "litmus", path, "--replay", token, "--on", mounted.path, saying=wanted)


def test_question_about_the_cache_is_one_line(mount: Callable[..., Mount]):
    m = mounted_for(mount, "read-drops")
    path, token = GALLERY / "read-drops.litmus", HIDDEN["read-drops"]
    words = "litmus", path, "--replay", token, "--on", m.path
    refused(FAILED, *words, saying="cache in the question")


def test_elsewhere_nobody_can_be_held(tmp_path: Path):
    token = SHOWN[0]
    path = GALLERY / f"{token.name}.litmus"
    words = "litmus", path, "--replay", token, "--on", tmp_path
    refused(FAILED, *words, saying="no fusefs is mounted there")
    edited = re.sub(r"/[0-9a-f]{8}/", "/00000000/", str(token))
    refused(USAGE, "litmus", path, "--replay", edited, "--on", tmp_path, saying="is not the file")
