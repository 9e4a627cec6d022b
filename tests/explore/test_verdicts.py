"""Each rule is found broken where it is, and kept where it is: by a file's end, left by hand."""

import pytest
from explore.playing import Play

from fusefs.explore.kept import all_before
from fusefs.explore.reduction import Reduction
from fusefs.explore.worlds import LitmusCase
from fusefs.litmus.condition import holds
from fusefs.litmus.parse import parse

BLOCK, PAGE = 512, 1024


def content(character: str) -> bytes:
    """A block as it is told: '?' is of nobody."""
    return {"0": b"\0", "?": b"\xdb"}.get(character, character.encode()) * BLOCK


def leave(played: Play, disk: str, cache: str = "", dirty: str = "") -> Play:
    """Have f end otherwise: its blocks on the disk, which must be written, and its cache.

    dirty has a + for each block that is.
    """
    world, inode = played.world.world, played.world.world.names["f"]
    for block, character in enumerate(disk):
        mapping = inode.extents.find(block, block + 1)
        assert mapping.physical
        world.image.write_at(mapping.physical * BLOCK, content(character))
    for page in list(inode.mapping.pages.values()):
        world.fs.cache.remove(page)
    for first in range(0, len(cache), PAGE // BLOCK):
        page = world.fs.cache.insert_locked(inode.mapping, first * BLOCK // PAGE)
        for bit, character in enumerate(cache[first : first + PAGE // BLOCK]):
            if character != "-":
                page.data[bit * BLOCK : (bit + 1) * BLOCK] = content(character)
                page.blocks_uptodate |= 1 << bit
            if dirty[first + bit : first + bit + 1] == "+":
                world.fs.cache.set_dirty(page, 1 << bit)
        page.unlock()
    return played


def ended(text: str) -> Play:
    return Play(text).finish()


# -- coherence ---------------------------------------------------------------------------

TWO = "file f 1k a\nA:\n    pwrite f 0 512 b direct\n"


@pytest.mark.parametrize(
    ("cache", "dirty", "sentences"),
    [
        ("ba", "", []),
        ("b-", "", []),
        ("--", "", []),
        ("bb", "-+", []),
        ("aa", "", ["f, bytes 0 to 512: a (at first) in the cache, b (of A) on the disk"]),
        ("0-", "", ["f, bytes 0 to 512: zeros in the cache, b (of A) on the disk"]),
        ("b0", "", ["f, bytes 512 to 1024: zeros in the cache, a (at first) on the disk"]),
    ],
)
def test_clean_block_that_disagrees_with_the_disk(cache: str, dirty: str, sentences: list[str]):
    """(D1)"""
    played = leave(ended(TWO), "ba", cache, dirty)
    found = [each for each in played.world.violations() if each[0] == "coherence"]
    assert found == [("coherence", f"(D1) {sentence}") for sentence in sentences]
    assert (played.world.check() or "").startswith("coherence" if sentences else "")


def test_what_is_behind_the_end_of_the_file_does_not_count():
    """(D1) Nobody can read it."""
    played = leave(ended("file f 700 a\nA:\n    r = pread f 0 700\n"), "aa", "aa")
    inode = played.world.world.names["f"]
    inode.mapping.pages[0].data[700:] = b"?" * 324
    assert played.rules == []
    inode.mapping.pages[0].data[699:700] = b"?"
    assert "coherence" in played.rules


# -- foreign -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disk", "cache", "sentences"),
    [
        ("ba", "ba", []),
        ("00", "--", []),
        ("b?", "--", ["f, bytes 512 to 1024: bytes that nobody wrote into it, on the disk"]),
        ("bc", "--", ["f, bytes 512 to 1024: bytes that nobody wrote into it, on the disk"]),
        ("ba", "c-", ["f, bytes 0 to 512: bytes that nobody wrote into it, in the cache"]),
    ],
)
def test_bytes_of_nobody(disk: str, cache: str, sentences: list[str]):
    """c is another file's: in this one it is nobody's."""
    played = leave(ended(TWO.replace("A:", "file g 1k c\nA:")), disk, cache)
    found = [sentence for rule, sentence in played.world.violations() if rule == "foreign"]
    assert found == sentences


@pytest.mark.parametrize("left", ["?", "c"])
def test_read_of_bytes_of_nobody(left: str):
    """Also if the file does not have them any more when all has ended."""
    text = "file f 1k a\nfile g 1k c\nA:\n    fsync g\n    r = pread f 0 700 direct\n"
    text = text.replace("700", "512")
    played = leave(Play(text).go("A", "reply"), f"{left}a").finish()
    leave(played, "aa")
    assert played.value("A.r") == "?"
    told = "A read of f, bytes 0 to 512: bytes that nobody wrote into it"
    assert played.world.violations() == [("foreign", told)]


def test_copied_letter_is_not_foreign():
    played = ended("file f 1k a\nfile g 1k c\nA:\n    copy_range g 0 512 f 0\n    fsync f\n")
    assert played.value("disk f") == "ca"
    assert played.rules == []


def test_some_bytes_of_nobody_in_a_block_are_found():
    played = ended(TWO)
    world, inode = played.world.world, played.world.world.names["f"]
    world.image.write_at(inode.extents.find(0, 1).physical * BLOCK + 100, b"??")
    assert played.value("disk f") == "!a"
    found = "f, bytes 100 to 102: bytes that nobody wrote into it, on the disk"
    assert ("foreign", found) in played.world.violations()


# -- lost --------------------------------------------------------------------------------

FILE = "file f 1k a\n"
A_WRITES = "A:\n    pwrite f 0 512 b direct\n"


@pytest.mark.parametrize(
    ("tasks", "disk", "is_lost"),
    [
        # one write
        (A_WRITES, "ba", False),
        (A_WRITES, "0a", True),
        (A_WRITES, "aa", True),
        (A_WRITES, "b0", False),  # of what nobody wrote, nothing is said
        # two of one task: the later one counts
        (A_WRITES + "    pwrite f 0 512 c direct\n", "ca", False),
        (A_WRITES + "    pwrite f 0 512 c direct\n", "ba", True),
        (A_WRITES + "    pwrite f 256 256 c dsync\n", "ca", True),
        # two beside each other: any of the two, but nothing else
        (A_WRITES + "B:\n    pwrite f 0 512 c direct\n", "ba", False),
        (A_WRITES + "B:\n    pwrite f 0 512 c direct\n", "ca", False),
        (A_WRITES + "B:\n    pwrite f 0 512 c direct\n", "0a", True),
        # unless one has waited for the other
        (A_WRITES + "B:\n    wait A\n    pwrite f 0 512 c direct\n", "ca", False),
        (A_WRITES + "B:\n    wait A\n    pwrite f 0 512 c direct\n", "ba", True),
        (
            A_WRITES + "B:\n    wait A\n    fsync f\nC:\n    wait B\n    pwrite f 0 512 c\n",
            "ba",
            True,
        ),
        # what else can change bytes
        (A_WRITES + "    fzero f 0 1k\n", "0a", False),
        (A_WRITES + "B:\n    fzero f 0 1k\n", "0a", False),
        (A_WRITES + "B:\n    fzero f 512 512\n", "0a", True),
        ("A:\n    fzero f 0 512\n    pwrite f 0 512 b direct\n", "0a", True),
        (A_WRITES + "B:\n    copy_range f 512 512 f 0\n", "aa", False),
        ("A:\n    copy_range f 512 512 f 0\n    pwrite f 0 512 b direct\n", "aa", True),
        # what cannot
        (A_WRITES + "    falloc f 0 1k\n    fsync f\n    pread f 0 1k\n", "0a", True),
        # asynchronous writes come to their end when they are reaped
        ("A:\n    aio x = pwrite f 0 512 b direct\n    pwrite f 0 512 c direct\n", "ba", False),
        (
            "A:\n    aio x = pwrite f 0 512 b direct\n    reap x\n    pwrite f 0 512 c direct\n",
            *("ba", True),
        ),
    ],
)
def test_write_that_returned_is_there_unless_it_was_overwritten(
    tasks: str, disk: str, is_lost: bool
):
    played = leave(ended(FILE + tasks), disk)
    assert ("lost" in played.rules) is is_lost


@pytest.mark.parametrize(
    ("disk", "cache", "dirty", "is_lost"),
    [
        ("ba", "--", "", False),
        ("aa", "b-", "", False),  # the cache still has it: that it is clean is another rule's
        ("ba", "0-", "", False),
        ("aa", "b-", "+-", False),
        ("ba", "0-", "+-", True),  # the disk will get what the cache has
        ("0a", "a-", "", True),
    ],
)
def test_there_is_on_the_disk_or_in_the_cache(disk: str, cache: str, dirty: str, is_lost: bool):
    played = leave(ended(FILE + A_WRITES), disk, cache, dirty)
    assert ("lost" in played.rules) is is_lost


def test_lost_write_is_told_with_what_is_there_instead():
    played = leave(ended(FILE + A_WRITES), "0a", "a-")
    told = "b of A is gone: f, bytes 0 to 512: a (at first) in the cache, zeros on the disk"
    assert ("lost", told) in played.world.violations()


def test_write_behind_the_end_of_the_file_is_lost():
    """Somebody has put back an older i_size."""
    played = ended("file f 512 a\nA:\n    pwrite f 512 512 b direct\n")
    assert played.rules == []
    played.world.world.names["f"].size = 512
    told = "b of A is gone: f, bytes 512 to 1024: behind the end of the file"
    assert played.world.violations() == [("lost", told)]


@pytest.mark.parametrize("operation", ["truncate f 512", "truncate f 0"])
def test_write_that_a_truncate_may_have_cut_off_is_not_lost(operation: str):
    text = f"file f 512 a\nA:\n    pwrite f 512 512 b direct\nB:\n    {operation}\n"
    assert Play(text).go("A").finish().rules == []
    assert Play(text).go("B").finish().rules == []


def test_punch_does_not_make_a_file_longer_again():
    """So what a truncate may have cut off may still be gone after a punch."""
    text = "file f 1k a\nA:\n    pwrite f end 512 b append\nB:\n    truncate f 512\n"
    text += "    fpunch f 0 2k\n"
    assert Play(text).go("A").finish().rules == []
    assert Play(text.replace("fpunch", "fzero")).go("A").finish().rules == []


def test_write_after_a_truncate_is_lost_if_it_is_cut_off():
    played = ended("file f 1k a\nA:\n    truncate f 512\n    pwrite f 512 512 b direct\n")
    assert played.rules == []
    played.world.world.names["f"].size = 512
    assert played.rules == ["lost"]


def test_appended_bytes_are_looked_for_where_they_went():
    text = "file f 512 a\nA:\n    pwrite f end 512 b append\nB:\n    pwrite f end 512 c append\n"
    played = Play(text).go("B").finish()
    assert played.value("cache f") == "-cb"
    assert played.rules == []
    for page in list(played.world.world.names["f"].mapping.pages.values()):
        page.data[:] = content("a") * 2
    assert [sentence[:21] for sentence in played.sentences] == [
        "c of B is gone: f, by",
        "b of A is gone: f, by",
    ]


def test_write_that_failed_promises_nothing():
    """That it may have changed something is allowed all the same."""
    text = (
        "file f 100 a\nA:\n    r = pwrite f end 512 b append direct\n    pwrite f 0 512 c direct\n"
    )
    played = leave(ended(text), "c")
    assert played.value("A.r") == "EINVAL"
    assert played.rules == []


def test_failed_write_beside_a_punch_promises_nothing():
    """The punch has changed all that it could, but a file is not as long for that."""
    text = "file f 1 a\nA:\n    fpunch f 0 512\n    r = pwrite f end 512 b append direct\n"
    played = ended(text)
    assert played.values("A.r", "size f") == ["EINVAL", "1"]
    assert played.rules == []


def test_order_of_operations_is_the_file_s():
    text = """litmus order
page 1k
block 512
file f 1k hole
A:
    aio x = pwrite f 0 512 a direct
    fsync f
    reap x
    fsync f
B:
    wait A
    fsync f
C:
    wait B
    fsync f
D:
    fsync f
exists size f = 0
"""
    before = all_before(parse(text, "x").tasks)
    a = [(0, place) for place in range(4)]
    assert before[0, 1] == frozenset()  # the write is still in flight
    assert before[0, 3] == frozenset(a[:3])
    assert before[1, 1] >= frozenset(a)
    assert before[2, 1] >= frozenset([*a, (1, 1)])
    assert before[3, 0] == frozenset()


# -- space -------------------------------------------------------------------------------


def test_block_without_an_owner():
    played = ended(TWO)
    assert played.rules == []
    played.world.world.names["f"].extents.remove(0, 1)
    assert ("space", "blocks leaked") in played.world.violations()


def test_block_with_two_owners():
    played = ended(TWO.replace("A:", "file g 1k hole\nA:"))
    names = played.world.world.names
    names["g"].extents.allocate(0, 1, names["f"].extents.find(0, 1).physical)
    assert played.world.violations()[-1] == ("space", "a block has two owners")


def test_promise_that_nobody_keeps():
    played = ended(TWO)
    played.world.world.fs.space.reserve(1)
    assert played.world.violations() == [("space", "reservations do not add up")]


# -- in a search -------------------------------------------------------------------------

STALE = """litmus stale-zeros
page 1k
block 512
file f 1k unwritten
A:
    pwrite f 0 512 a direct
    r = pread f 0 512
B:
    pread f 512 512
exists A.r = 0
"""


@pytest.mark.parametrize(
    ("orders", "answers", "rules"),
    [((), {False}, set()), (("post_before_end",), {False, True}, {"coherence"})],
    ids=["today", "post_before_end"],
)
def test_question_of_the_bug(orders: tuple[str, ...], answers: set[bool], rules: set[str]):
    """(D1) Sometimes zeros under the order of 4.10, never under today's.

    Guards kernel c771c14baa33 (xfstests generic/418).
    """
    litmus = parse(STALE, "stale-zeros.litmus")
    made = LitmusCase(litmus, orders)
    reduction = Reduction(made.world)
    found, broken = set(), set()
    while reduction.next_run():
        world = reduction.execution.scenario
        found.add(holds(litmus.question.condition, world.outcome()))
        broken |= {rule for rule, _ in world.violations()}
    assert found == answers
    assert broken == rules
