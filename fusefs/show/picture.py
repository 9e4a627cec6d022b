"""The picture of a story, as SVG: requests as boxes, what they share as ribbons beside them.

    svg()    the element, to stand in a page whose style.py gives it colours

Every event is a group of class "moment" with a number, over which the page's script listens; it
has a <title>, which a browser shows without any script.
"""

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Final

from fusefs.engine.events import ASKED, BEGAN, ENDED
from fusefs.show.flows import FILLED, WOKE, flows
from fusefs.show.layout import HEAD, LETTER, ROW, Layout, Span
from fusefs.show.story import PAGE, State, Story

HUES: Final = 6
"""Colours of processes, which then begin again."""

NOBODY: Final = -1
"""Instead of an event: none that is shown."""

DOT: Final = 10
TEXT: Final = 20
"""From a box's left: where steps are, and where their names begin."""


def svg(story: Story) -> str:
    layout = Layout(story)
    hues = {pid: n % HUES for n, (pid, _) in enumerate(layout.actors)}
    width, height = f"{layout.width:.0f}", f"{layout.height + 12:.0f}"
    parts = [
        f'<svg class="picture" xmlns="http://www.w3.org/2000/svg" width="{width}"'
        f' height="{height}" viewBox="0 0 {width} {height}" role="group"'
        f' aria-label="{escape(story.title)}">',
        DEFINITIONS,
        *_critical(story, layout),
        *_heads(story, layout, hues),
        *_lanes(story, layout),
        *_boxes(story, layout, hues),
        *_arrows(story, layout),
        *_moments(story, layout, hues),
        "</svg>",
    ]
    return "\n".join(parts)


DEFINITIONS: Final = """\
<defs>
<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"
 patternTransform="rotate(45)">
<rect class="hatch-ground" width="6" height="6"/><rect class="hatch-line" width="2" height="6"/>
</pattern>
<pattern id="hatch-warm" width="6" height="6" patternUnits="userSpaceOnUse"
 patternTransform="rotate(45)">
<rect class="hatch-warm-ground" width="6" height="6"/>
<rect class="hatch-warm-line" width="2" height="6"/>
</pattern>
<marker id="tip-of-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
 orient="auto-start-reverse"><path class="arrow-tip" d="M0 0 8 4 0 8z"/></marker>
</defs>"""


def _text(x: float, y: float, words: str, kind: str, room: float = 0) -> str:
    """Words, cut if they need more room than there is; then all of them are its title."""
    letters = int(room / LETTER) if room else len(words)
    if len(words) > letters:
        whole = f"<title>{escape(words)}</title>"
        words = f"{words[: max(letters - 1, 1)]}…"
    else:
        whole = ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}{whole}</text>'


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _rect(kind: str, span: Span, top: float, bottom: float, more: str = "") -> str:
    return (
        f'<rect class="{kind}" x="{span.left:.1f}" y="{top:.1f}" width="{span.width:.1f}"'
        f' height="{max(bottom - top, 0):.1f}"{more}/>'
    )


def _heads(story: Story, layout: Layout, hues: dict[int, int]) -> Iterator[str]:
    yield _text(8, HEAD - 12, story.unit, "unit")
    for pid, group in layout.actors:
        yield _text(
            group.span.left, HEAD - 18, group.name, f"actor hue{hues[pid]}", group.span.width
        )
        yield _line(
            f"actor-rule hue{hues[pid]}", group.span.left, HEAD - 8, group.span.right, HEAD - 8
        )
    for group in layout.groups:
        yield _text(group.span.left, 24, group.name, "group")
        yield _line("group-rule", group.span.left, 30, group.span.right, 30)
    for lane, span in zip(story.lanes, layout.lanes, strict=True):
        yield _text(span.left, 46, lane.what, "lane-name", span.width)


def _lanes(story: Story, layout: Layout) -> Iterator[str]:
    """Ribbons: a piece for each state, from the event that brought it on."""
    for place, span in enumerate(layout.lanes):
        top, state, since = HEAD - 20.0, story.first[place], NOBODY
        for at, states in enumerate(story.after):
            hidden = story.states_before(at)[place]
            if hidden != state:  # by what is not shown
                yield from _piece(place, (since, NOBODY), span, (top, layout.tops[at]), state)
                top, state, since = layout.tops[at], hidden, NOBODY
            if states[place] != state:
                yield from _piece(place, (since, at), span, (top, layout.middle(at)), state)
                top, state, since = layout.middle(at), states[place], at
        yield from _piece(place, (since, NOBODY), span, (top, layout.height), state)


def _piece(
    lane: int, events: tuple[int, int], span: Span, reach: tuple[float, float], state: State
) -> Iterator[str]:
    """events are those that it begins and ends with, or NOBODY; reach is from top to bottom."""
    since, until = events
    data = f' rx="2" data-lane="{lane}" data-since="{since}" data-until="{until}"'
    yield _rect(f"piece {state.kind}", span, reach[0] + 1, reach[1], data)
    kind, room = f"state on-{state.kind}", span.width - 12
    if reach[1] - reach[0] >= ROW:
        yield _text(span.left + 7, reach[0] + 16, state.text, kind, room)


def _boxes(story: Story, layout: Layout, hues: dict[int, int]) -> Iterator[str]:
    """A request from its first event to its last."""
    own: dict[int, list[int]] = {}
    for at, event in enumerate(story.events):
        own.setdefault(event.request, []).append(at)
    for request, places in own.items():
        span, hue = layout.columns[request], hues[story.events[places[0]].pid]
        top, bottom = layout.tops[places[0]] + 2, layout.tops[places[-1]] + ROW - 2
        ended = story.events[places[-1]].event == ENDED
        kind = f"request hue{hue}" + ("" if ended else " unfinished")
        yield _rect(kind, span, top, bottom, ' rx="4"')
        for one, other in pairwise(places):
            waits = " waits" if story.events[one].event == ASKED else ""
            x = span.left + DOT
            y1, y2 = layout.middle(one), layout.middle(other)
            if story.events[one].event == BEGAN:  # its words stand there
                y1 += 8
            yield _line(f"thread hue{hue}{waits}", x, y1, x, y2)


def _arrows(story: Story, layout: Layout) -> Iterator[str]:
    """Who woke whom; whose fill a read was answered from: through the page, if there is a lane."""
    for flow in flows(story.events):
        source, target = (layout.columns[story.events[at].request] for at in flow[1:])
        y1, y2 = layout.middle(flow.source), layout.middle(flow.target)
        pages = [each.lane for each in story.changes(flow.source) if _is_page(story, each.lane)]
        words = "lets it go on" if flow.kind == WOKE else "is answered from what this filled"
        if flow.kind == FILLED and pages:
            lane = layout.lanes[pages[0]]
            path = f"M{lane.left:.1f} {y2:.1f}H{target.right + 2:.1f}"
            words = "the read is answered from this page"
        else:
            x1, x2 = source.left + DOT, target.left + DOT
            bend = (x1 + x2) / 2 if x1 != x2 else x1 - 26
            path = f"M{x1:.1f} {y1:.1f}C{bend:.1f} {y1:.1f} {bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        yield (
            f'<path class="arrow {flow.kind}" d="{path}" marker-end="url(#tip-of-arrow)">'
            f"<title>{words}</title></path>"
        )


def _is_page(story: Story, lane: int) -> bool:
    return story.lanes[lane].kind == PAGE


def _moments(story: Story, layout: Layout, hues: dict[int, int]) -> Iterator[str]:
    """Each event: its time, its dot and words, what it did; a rectangle over all that listens."""
    shown = ""
    for at, event in enumerate(story.events):
        span, y, hue = layout.columns[event.request], layout.middle(at), hues[event.pid]
        time = story.time(event)
        critical = " critical" if at == story.critical else ""
        label = f"{story.unit} {time}, {story.actor(event.pid)}: {story.said(event)}"
        yield (
            f'<g class="moment{critical}" data-at="{at}" tabindex="{0 if at == 0 else -1}"'
            f' role="img" aria-label="{escape(label)}">'
        )
        row = Span(0, layout.width)
        yield _rect("ground", row, layout.tops[at], layout.tops[at] + ROW)
        if time != shown:
            yield _text(52, y + 4, time, "time")
            shown = time
        for change in story.changes(at):
            lane = layout.lanes[change.lane]
            yield _line(f"link hue{hue}", span.right, y, lane.left, y)
            yield f'<circle class="hit hue{hue}" cx="{lane.left:.1f}" cy="{y:.1f}" r="3.2"/>'
        if event.event == BEGAN:
            yield _text(span.left + 8, y + 4, story.said(event), "began", span.width - 10)
        else:
            kind = "dot waits" if event.event == ASKED else "dot"
            x = span.left + DOT
            yield f'<circle class="{kind} hue{hue}" cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>'
            words = "ended" if event.event == ENDED else "step"
            yield _text(span.left + TEXT, y + 4, story.said(event), words, span.width - TEXT)
        yield f"<title>{escape(_spoken(story, at))}</title></g>"


def _critical(story: Story, layout: Layout) -> Iterator[str]:
    """The band of the event that decided, and the line below it that says so."""
    at = story.critical
    if at is None:
        return
    top = layout.tops[at]
    yield _rect("band", Span(0, layout.width), top, top + ROW)
    yield _line("decided", 0, top + ROW, layout.width, top + ROW)
    yield _text(layout.actors[0][1].span.left, top + ROW + 15, story.why, "why")


def _spoken(story: Story, at: int) -> str:
    """What happened, in lines: for who has no script."""
    event = story.events[at]
    lines = [f"{story.unit} {story.time(event)}, {story.actor(event.pid)}: {story.said(event)}"]
    if owner := story.waits_for(event):
        lines.append(f"waits for {owner}")
    for change in story.changes(at):
        name = story.lanes[change.lane].name
        lines.append(f"{name}: {change.before.text} → {change.after.text}")
    return "\n".join(lines)
