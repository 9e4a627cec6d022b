"""Pictures of what happened: events in, text out.  Nothing here reads, writes, or knows a clock.

story.py      what is drawn: events, who they are about, and what became of pages, blocks, locks
  follow.py   that, as far as the events of a mount say it
  flows.py    who woke whom, and whose page whom a read was answered from
ladder.py     a column for each process, in 72 columns of text
html.py       one page: picture, table, what is shown of a moment under the pointer
  picture.py  its lanes, as SVG
  layout.py   where they are
  style.py    its colours, on a screen and on paper, and its script
perfetto.py   Chrome's trace events, for ui.perfetto.dev

A story comes from a live mount, from a file of events, or from a witness of the search.
"""
