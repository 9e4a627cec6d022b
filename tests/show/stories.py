"""Stories for the tests of pictures: a witness of the gallery, and the same on a mount."""

from functools import cache
from pathlib import Path

from fusefs.commands.litmus_text import orders_of
from fusefs.engine.events import Event, parse
from fusefs.explore.answer import task_name
from fusefs.explore.explain import no_return
from fusefs.explore.story import told
from fusefs.explore.telling import NO_RETURN
from fusefs.explore.token import parse_token, replay
from fusefs.litmus.parse import parse as parse_litmus
from fusefs.litmus.test import Litmus
from fusefs.mounts import ROOT
from fusefs.show.mount import mount_story
from fusefs.show.story import Story

GALLERY = ROOT / "fusefs" / "litmus" / "gallery"
TOKENS = Path(__file__).parents[1] / "explore" / "witnesses.txt"

BUG = (
    "litmus1/post-before-end/2d3c2197/post_before_end/"
    "Acce,Aaf3,Aef1,A631,Bcce,B21a,B4fa,B85d,A293,A578"
)
"""B fills the page between A's drop and A's conversion."""

PAGE, BLOCK = 4096, 512

LIVE = """\
1.000000 101 write 2 - 0+512 2 began direct
1.000092 101 write 2 dio.write.map 0+512 2 granted -
1.000151 101 write 2 dio.write.submit 0+512 2 granted -
1.000203 101 write 2 dio.write.invalidate_post 0+512 2 granted -
1.000333 101 write 2 dio.write.convert 0+512 2 asked -
1.000371 102 read 2 - 2048+512 3 began -
1.001914 102 read 2 buffered.read.page_lock 0+4096 3 granted -
1.001969 102 read 2 buffered.read.map 0+4096 3 granted -
1.002018 102 read 2 buffered.read.fill 0+4096 3 granted -
1.002072 102 read 2 reply 2048+512 3 ended 512
1.009228 101 write 2 dio.write.convert 0+512 2 granted -
1.009308 101 write 2 reply 0+512 2 ended 512
1.009400 103 read 9 - 0+512 4 began -
1.009410 103 read 9 reply 0+512 4 ended 0
1.009458 101 read 2 - 0+512 5 began -
1.009469 101 read 2 reply 0+512 5 ended 512
"""
"""What a mount told under invalidate=before, and a reader of another file."""


@cache
def gallery_file(name: str) -> Litmus:
    return parse_litmus((GALLERY / f"{name}.litmus").read_text(), name)


@cache
def witness(token: str = BUG) -> Story:
    """A token of the gallery, as a story; where it was decided is looked for in BUG alone."""
    known = parse_token(token)
    litmus = gallery_file(known.name)
    execution, turns = replay(litmus, known, orders_of)
    execution.close()
    schedule = [turn.task for turn in turns]
    orders = orders_of(known.era)
    decided = no_return(litmus, orders, schedule) if token == BUG else None
    assert {task_name(litmus, task) for task in schedule}
    return told(litmus, orders, schedule, title=known.name, decided=decided, why=NO_RETURN)


def tokens() -> list[str]:
    """All of the gallery that do not crash."""
    return [token for token in TOKENS.read_text().split() if "/crash" not in token]


def live_events() -> list[Event]:
    return parse(LIVE.splitlines())


def live() -> Story:
    return mount_story(
        live_events(), title="a mount", files={2: "data"}, page_size=PAGE, block_size=BLOCK
    )
