"""Which requests are named as A and B of a page that differs, out of what is remembered."""

import pytest

from fusefs.check.cause import UNKNOWN, Cause, cause
from fusefs.check.compare import Difference
from fusefs.check.history import STEPS_HEAD, STEPS_MAX, Story, Taken
from fusefs.engine.events import Request

PAGE = 2048
ZEROS = Difference(0, 512, 0, bytes(16), b"a" * 16)
"""A page has zeros where the image has what was written."""

WRITE = ("flush_dirty", "invalidate_pre", "map", "submit", "convert", "invalidate_post")
READ = ("page_lock", "map", "fill")


def write(number: int, time: int) -> Story:
    """A direct write of one block, of which each step is at a time of its own."""
    return story(Request(number, time, "write", 1), "dio.write", WRITE, 512)


def read(number: int, time: int) -> Story:
    return story(Request(number, time, "read", 1), "buffered.read", READ, PAGE)


def story(request: Request, path: str, steps: tuple[str, ...], length: int) -> Story:
    made = Story(request)
    for time, step in enumerate(steps, request.began_ns + 1):
        made.add(Taken(time, f"{path}.{step}", 0, length))
    return made


def found(*stories: Story) -> Cause:
    """They are the latest first."""
    return cause(stories, ZEROS, 0, PAGE)


def stale() -> tuple[Story, Story]:
    """A write that drops before it converts, and a read between the two."""
    change = story(Request(1, 10, "write", 1), "dio.write", (*WRITE[:4], *WRITE[:3:-1]), 512)
    change.steps[-1] = change.steps[-1]._replace(time_ns=26)
    return change, read(2, 15)


def test_page_is_said_to_be_filled_between_two_steps_of_the_change() -> None:
    change, fill = stale()
    assert found(fill, change) == Cause(
        change, fill, None, "dio.write.invalidate_post", "dio.write.convert"
    )


@pytest.mark.parametrize("which", ["change", "fill"])
def test_between_which_steps_is_not_said_of_a_request_whose_beginning_is_forgotten(which) -> None:
    change, fill = stale()
    {"change": change, "fill": fill}[which].lacks_beginning = True
    assert found(fill, change) == Cause(change, fill, None, UNKNOWN, UNKNOWN)


@pytest.mark.parametrize(("at", "is_known"), [(STEPS_HEAD - 1, False), (STEPS_HEAD, True)])
def test_nothing_is_said_of_the_forgotten_middle_of_a_request(at: int, is_known: bool) -> None:
    """The page is filled just after a step that is remembered."""
    change = Story(Request(1, 1, "write", 1))
    for time in range(2 * STEPS_MAX):
        change.add(Taken(10 * time + 10, "dio.write.submit", 0, 512))
    fill = read(2, change.steps[at].time_ns)
    assert (found(fill, change).before != UNKNOWN) == is_known


def test_fill_that_a_later_write_dropped_is_not_named() -> None:
    """The one that made the page is forgotten."""
    change = write(2, 20)
    assert found(change, read(1, 10)) == Cause(change, None, None, UNKNOWN, UNKNOWN)


def test_fill_before_the_end_of_an_asynchronous_write_is_named() -> None:
    """Under aio_no_post: that end, in a queue, drops nothing."""
    end = story(Request(2, 20, "work", 1), "dio.write", ("convert",), 512)
    fill = read(1, 10)
    assert found(end, fill) == Cause(end, fill, None, UNKNOWN, UNKNOWN)


def test_copy_may_have_filled_the_page() -> None:
    """Its reads, as History.latest() tells of them."""
    change, _ = stale()
    copy = Request(2, 15, "copy_file_range", 1, 101, 0, PAGE, "from=1:0")
    fill = story(copy, "buffered.read", READ, PAGE)
    assert found(fill, change).fill is fill
