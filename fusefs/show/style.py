"""How a page looks, on a screen, light and dark, and on paper; and the script that shows a moment.

Colours of processes are those of Okabe and Ito, which people tell apart who see fewer colours;
states are told by words and patterns as well.
"""

from typing import Final

CSS: Final = """\
:root {
  color-scheme: light dark;
  --paper: #fdfcf9; --ink: #1d2226; --soft: #5d666d; --line: #d5d3cb; --card: #ffffff;
  --bad: #c1272d; --bad-ground: #fbe3e1; --on-bad: #ffffff;
  --hue0: #0072b2; --hue1: #b85c00; --hue2: #00805f; --hue3: #a3447f; --hue4: #6a5acd;
  --hue5: #7a6a00;
  --clean: #cfe6dc; --zeros: #e9e4d3; --dirty: #f6cf8b; --written: #bcd9ee; --held: #dad6e6;
  --hatch: #c9c6ba; --hatch-ground: #f4f2ea; --warm: #e0a53c; --warm-ground: #fbeccb;
}
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181b; --ink: #e8e6e0; --soft: #98a1a8; --line: #373e44; --card: #1d2327;
  --bad: #ff6b62; --bad-ground: #45201f; --on-bad: #1d0e0d;
  --hue0: #5db4f0; --hue1: #f0a04b; --hue2: #3fc79b; --hue3: #e087c0; --hue4: #a79bff;
  --hue5: #d8c34a;
  --clean: #22473a; --zeros: #413d2e; --dirty: #6f4d12; --written: #1d4360; --held: #3b3650;
  --hatch: #4a5157; --hatch-ground: #20262a; --warm: #9a6c16; --warm-ground: #3d2f12;
} }
* { box-sizing: border-box }
body {
  margin: 0; padding: 2.2rem clamp(1rem, 4vw, 3.5rem) 3rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.25; font-weight: 650; margin: 0 0 .5rem }
h2 { font-size: 1.05rem; font-weight: 650; margin: 2.4rem 0 .6rem }
.prose { max-width: 46rem; margin: 0 0 1rem; white-space: pre-line }
.notes { font: 12.5px/1.6 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: 1.2rem 0 0; padding-left: 1rem;
  border-left: 3px solid var(--line) }
figure { margin: 0 }
.frame { overflow-x: auto; padding: 2px }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.3rem; margin: .9rem 0 0; padding: 0;
  list-style: none; font-size: 12.5px; color: var(--soft) }
.legend svg { width: 22px; height: 13px; vertical-align: -2px; margin-right: .4rem }
.how { font-size: 12.5px; color: var(--soft); margin: .3rem 0 0 }

.picture { display: block;
  font: 11px/1 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }
.picture text { fill: var(--ink) }
.picture .unit, .picture .time { fill: var(--soft); text-anchor: end }
.picture .unit { text-anchor: start }
.picture .actor { font: 650 15px system-ui, "Segoe UI", Arial, sans-serif; fill: var(--hue) }
.picture .group { font: 600 12px system-ui, "Segoe UI", Arial, sans-serif; fill: var(--soft) }
.picture .lane-name { fill: var(--soft) }
.picture .actor-rule { stroke: var(--hue); stroke-width: 2 }
.picture .group-rule { stroke: var(--line) }
.hue0 { --hue: var(--hue0) } .hue1 { --hue: var(--hue1) } .hue2 { --hue: var(--hue2) }
.hue3 { --hue: var(--hue3) } .hue4 { --hue: var(--hue4) } .hue5 { --hue: var(--hue5) }
.request { fill: var(--hue); fill-opacity: .09; stroke: var(--hue); stroke-opacity: .35 }
.request.unfinished { stroke-dasharray: 4 3 }
.thread { stroke: var(--hue); stroke-width: 2; stroke-opacity: .55 }
.thread.waits { stroke-dasharray: 2 4; stroke-opacity: .9 }
.dot { fill: var(--hue) }
.dot.waits { fill: var(--paper); stroke: var(--hue); stroke-width: 2 }
.began { font-weight: 700 }
.picture .ended { fill: var(--soft) }
.link { stroke: var(--hue); stroke-opacity: .45 }
.hit { fill: var(--hue); stroke: var(--paper); stroke-width: 1.2 }
.ground { fill: transparent }
.band { fill: var(--bad-ground) }
.decided { stroke: var(--bad); stroke-width: 1.6; stroke-dasharray: 7 4 }
.picture .why { fill: var(--bad); font: 650 12.5px system-ui, "Segoe UI", Arial, sans-serif }
.moment.critical .step { font-weight: 700 }
.arrow { fill: none; stroke: var(--soft); stroke-width: 1.3; stroke-opacity: .8 }
.arrow.filled { stroke-dasharray: 5 3 }
.arrow-tip { fill: var(--soft) }
.hatch-ground { fill: var(--hatch-ground) } .hatch-line { fill: var(--hatch) }
.hatch-warm-ground { fill: var(--warm-ground) } .hatch-warm-line { fill: var(--warm) }

.piece { stroke: var(--line); fill: transparent }
.piece.absent, .piece.hole { stroke-dasharray: 3 3 }
.piece.unknown, .piece.free { stroke: none }
.piece.locked, .piece.unwritten { fill: url(#hatch) }
.piece.clean { fill: var(--clean) }
.piece.zeros { fill: var(--zeros) }
.piece.dirty { fill: var(--dirty) }
.piece.writeback { fill: url(#hatch-warm) }
.piece.written { fill: var(--written) }
.piece.held { fill: var(--held) }
.piece.stale { fill: var(--bad); stroke: var(--bad) }
.picture .state { font-size: 10.5px; paint-order: stroke; stroke: var(--paper); stroke-width: 0 }
.picture .on-locked, .picture .on-unwritten, .picture .on-writeback { stroke-width: 3 }
.picture .on-absent, .picture .on-hole, .picture .on-unknown, .picture .on-free {
  fill: var(--soft) }
.picture .on-stale { fill: var(--on-bad); font-weight: 700 }
.moment { cursor: default; outline: none }
.moment:hover .ground, .moment:focus .ground, .moment.now .ground {
  fill: var(--ink); fill-opacity: .07 }
.moment:focus-visible .ground { stroke: var(--hue0); stroke-width: 2 }
.piece.touched { stroke: var(--ink); stroke-width: 1.8; stroke-dasharray: none }

#tip { position: fixed; z-index: 2; max-width: 30rem; padding: .7rem .9rem; pointer-events: none;
  background: var(--card); color: var(--ink); border: 1px solid var(--line); border-radius: 6px;
  box-shadow: 0 6px 24px #0003; font-size: 13px; line-height: 1.45 }
#tip[hidden] { display: none }
#tip b { display: block; overflow-wrap: anywhere }
#tip .means { color: var(--soft); margin: .1rem 0 0 }
ul.changes { list-style: none; margin: .35rem 0 0; padding: 0 }
td ul.changes { margin: 0 }
.changes .lane { color: var(--soft); margin-right: .4rem }
.chip { font: 11.5px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  padding: .05rem .4rem; border: 1px solid var(--line); border-radius: 3px; white-space: nowrap }
.chip.clean { background: var(--clean) } .chip.zeros { background: var(--zeros) }
.chip.dirty, .chip.writeback { background: var(--dirty) }
.chip.written { background: var(--written) } .chip.held { background: var(--held) }
.chip.locked, .chip.unwritten { background: var(--hatch-ground); border-style: dashed }
.chip.absent, .chip.hole, .chip.unknown, .chip.free { color: var(--soft); border-style: dashed }
.chip.stale { background: var(--bad); color: var(--on-bad); border-color: var(--bad) }

.table { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px; min-width: 40rem }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem }
th, td { text-align: left; vertical-align: top; padding: .28rem .9rem .28rem 0;
  border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 600 }
td.n { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft) }
td.what { font: 12px/1.6 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }
td.what small { display: block; color: var(--soft); font-family: system-ui, sans-serif }
tr.critical td { background: var(--bad-ground) }

@page { size: A4 landscape; margin: 12mm }
@media print {
  :root {
    --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --card: #fff;
    --bad: #b01c22; --bad-ground: #fbe3e1; --on-bad: #fff;
    --hue0: #005b8f; --hue1: #9a4d00; --hue2: #006b4f; --hue3: #8a3569; --hue4: #4d3fb0;
    --hue5: #5f5300;
    --clean: #cfe6dc; --zeros: #e9e4d3; --dirty: #f6cf8b; --written: #bcd9ee; --held: #dad6e6;
    --hatch: #c9c6ba; --hatch-ground: #f4f2ea; --warm: #e0a53c; --warm-ground: #fbeccb;
  }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  body { padding: 0; font-size: 10pt }
  #tip, .how { display: none }
  .frame, .table { overflow: visible }
  .picture { max-width: 100%; height: auto }
  .picture.short { max-height: 150mm }
  figure { break-after: page }
  thead { display: table-header-group }
  tr { break-inside: avoid }
}
"""

SCRIPT: Final = """\
"use strict";
const tip = document.getElementById("tip");
const moments = [...document.querySelectorAll(".moment")];
let now = null;

function show(moment, x, y) {
  hide();
  now = moment;
  moment.classList.add("now");
  const row = document.getElementById("row" + moment.dataset.at);
  const head = document.createElement("b");
  head.textContent = row.dataset.said;
  tip.replaceChildren(head);
  for (const part of row.querySelectorAll("small")) {
    const line = document.createElement("p");
    line.className = "means";
    line.textContent = part.textContent;
    tip.append(line);
  }
  const changes = row.querySelector("ul.changes");
  if (changes) {
    tip.append(changes.cloneNode(true));
    for (const change of changes.children) {
      for (const end of ["since", "until"]) {
        const lane = `[data-lane="${change.dataset.lane}"]`;
        document.querySelector(`${lane}[data-${end}="${moment.dataset.at}"]`)
          .classList.add("touched");
      }
    }
  }
  tip.hidden = false;
  const room = tip.getBoundingClientRect();
  tip.style.left = Math.max(8, Math.min(x + 18, innerWidth - room.width - 12)) + "px";
  const below = y + 20 + room.height < innerHeight;
  tip.style.top = Math.max(8, below ? y + 16 : y - room.height - 14) + "px";
}

function hide() {
  tip.hidden = true;
  if (now) now.classList.remove("now");
  for (const piece of document.querySelectorAll(".touched")) piece.classList.remove("touched");
  now = null;
}

function move(from, to) {
  if (!to) return;
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

moments.forEach((moment, place) => {
  moment.querySelector("title").remove();
  moment.addEventListener("pointermove", event => show(moment, event.clientX, event.clientY));
  moment.addEventListener("pointerleave", hide);
  moment.addEventListener("focus", () => {
    const box = moment.querySelector(".ground").getBoundingClientRect();
    show(moment, Math.max(box.left, 0) + 90, box.bottom);
  });
  moment.addEventListener("blur", hide);
  moment.addEventListener("keydown", event => {
    const steps = {ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: moments.length - 1};
    if (event.key === "Escape") hide();
    if (!(event.key in steps)) return;
    event.preventDefault();
    move(moment, moments[steps[event.key]]);
  });
});
document.documentElement.classList.add("scripted");
"""
