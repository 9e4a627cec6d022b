"""A story as a page: one file, which needs no network, no library, and no script to be read.

page()    the picture; a table of the same; with a script, what each moment changed
"""

from collections.abc import Iterator
from html import escape
from typing import Final

from fusefs.engine.events import NOTHING, Event
from fusefs.model.steps import NAMES
from fusefs.show.picture import svg
from fusefs.show.story import KINDS, State, Story
from fusefs.show.style import CSS, SCRIPT

SHORT: Final = 40
"""Events that still fit one sheet of paper."""

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Nothing is loaded: a page that says so cannot be made to."""


def page(story: Story, prose: str = "") -> str:
    """The whole document; prose is a paragraph below the title."""
    if not story.events:
        picture = "<p>Nothing happened.</p>"
    else:
        picture = svg(story)
        if len(story.events) <= SHORT:
            picture = picture.replace('class="picture"', 'class="picture short"', 1)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(story.title)}</title>",
        f"<style>\n{CSS}</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(story.title)}</h1>",
        *([f'<p class="prose">{escape(prose)}</p>'] if prose else []),
        "<figure>",
        f'<div class="frame">{picture}</div>',
        f"<figcaption>{_legend(story)}</figcaption>",
        "</figure>",
        *([f'<p class="notes">{escape(chr(10).join(story.notes))}</p>'] if story.notes else []),
        *_table(story),
        '<div id="tip" role="status" hidden></div>',
        f"<script>\n{SCRIPT}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _legend(story: Story) -> str:
    """What the colours of this picture mean."""
    used = {state.kind for states in [story.first, *story.before, *story.after] for state in states}
    items = [
        f'<li><svg viewBox="0 0 22 13" aria-hidden="true"><rect class="piece {kind}" x="1" y="1"'
        f' width="20" height="11" rx="2"/></svg>{kind}: {words}</li>'
        for kind, words in KINDS.items()
        if kind in used
    ]
    how = "Time goes down, a row for each event. Point at one, or use the arrow keys."
    return f'<ul class="legend">{"".join(items)}</ul><p class="how">{how}</p>'


def _table(story: Story) -> Iterator[str]:
    yield "<h2>The same as a table</h2>"
    yield '<div class="table"><table>'
    yield "<thead><tr>"
    heads = (story.unit, "who", "request", "what happens", "what changes")
    yield "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    yield "</tr></thead>"
    yield "<tbody>"
    for at, event in enumerate(story.events):
        yield from _row(story, at, event)
    yield "</tbody></table></div>"


def _row(story: Story, at: int, event: Event) -> Iterator[str]:
    actor, said = story.actor(event.pid), story.said(event)
    spoken = escape(f"{story.unit} {story.time(event)} · {actor}: {said}")
    critical = ' class="critical"' if at == story.critical else ""
    yield f'<tr id="row{at}"{critical} data-said="{spoken}">'
    yield f'<td class="n">{story.time(event)}</td><td>{escape(actor)}</td>'
    yield f"<td>{escape(story.request(event.request))}</td>"
    lines = [_meaning(event)] if event.step != NOTHING else []
    if owner := story.waits_for(event):
        lines.append(f"waits for {owner}")
    if at == story.critical:
        lines.append(story.why)
    small = "".join(f"<small>{escape(line)}</small>" for line in lines if line)
    yield f'<td class="what">{escape(said)}{small}</td>'
    changes = [
        f'<li data-lane="{each.lane}"><span class="lane">{escape(story.lanes[each.lane].name)}'
        f"</span>{_chip(each.before)} → {_chip(each.after)}</li>"
        for each in story.changes(at)
    ]
    yield f'<td>{f"""<ul class="changes">{"".join(changes)}</ul>""" if changes else ""}</td></tr>'


def _chip(state: State) -> str:
    title = escape(KINDS[state.kind])
    return f'<span class="chip {state.kind}" title="{title}">{escape(state.text)}</span>'


def _meaning(event: Event) -> str:
    """What the step's name stands for in the kernel: until it is granted, this has not happened."""
    words = NAMES.get(event.step, "")
    before, _, anchor = words.partition("; ")
    return f"until then: {before} · {anchor}" if anchor else ""
