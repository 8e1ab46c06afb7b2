"""The stylesheet of every page: reports and cards contain it, the console serves it."""

from __future__ import annotations

__all__ = ["PAGE_STYLE"]

PAGE_STYLE = """\
:root {
  --paper: #fbfaf7; --card: #fff; --ink: #1d2420; --soft: #5c665f; --line: #e0e2db; --track: #e9ebe4;
  --good: #2b7549; --good-wash: #e6f2ea; --bad: #b3372e; --bad-wash: #fae9e6; --warn: #95640c; --warn-wash: #fbf1dc;
  --accent: #2b7549; --second: #b8652b; --heat: 47, 125, 79; --miss: 179, 55, 46;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #141815; --card: #1b211d; --ink: #e6eae5; --soft: #9aa69d; --line: #2e3731; --track: #2a322d;
    --good: #6cc391; --good-wash: #1a3325; --bad: #f0887d; --bad-wash: #3a1f1c; --warn: #e3b65a; --warn-wash: #362a13;
    --accent: #6cc391; --second: #e39a63; --heat: 108, 195, 145; --miss: 240, 136, 125;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem; }
main { padding-top: 2rem; }
.kicker { margin: 0; color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
h1 { margin: .1rem 0 1rem; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 2.75rem 0 .25rem; font-size: 1.2rem; line-height: 1.3; }
h2 + p { margin: 0 0 .9rem; color: var(--soft); max-width: 46rem; text-wrap: balance; }
h3 { margin: 0 0 .25rem; font-size: .95rem; }
p { margin: .5rem 0; }
code, .mono { font: .875em/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.soft { color: var(--soft); } a { color: var(--accent); }
.links { font-size: .875rem; color: var(--soft); } .links b { color: var(--ink); font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.verdict { margin: 0 0 1.25rem; padding: .75rem 1rem; border-radius: .5rem; background: var(--track); font-size: 1.05rem; }
.verdict.good { background: var(--good-wash); } .verdict.bad { background: var(--bad-wash); }
  .verdict.warn { background: var(--warn-wash); }
.verdict p { margin: .3rem 0 0; color: var(--ink); font-size: .95rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 0 0 1rem; }
.tile { padding: .8rem 1rem .75rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.tile b { display: block; font-size: 1.75rem; font-weight: 600; line-height: 1.2; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--soft); font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere; }
.card { padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.wide { overflow-x: auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: .75rem; }
table { width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: middle; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: .82rem; white-space: nowrap; }
tbody th { font-weight: 500; }
.interval { display: block; color: var(--soft); font-size: .75rem; }
.verdict ul { margin: .3rem 0 0; padding-left: 1.2rem; color: var(--ink); font-size: .95rem; columns: 22rem; }
.number { text-align: right; white-space: nowrap; }
thead button { all: unset; cursor: pointer; } thead button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
thead [aria-sort="ascending"] button::after { content: " ▲"; font-size: .7em; }
  thead [aria-sort="descending"] button::after { content: " ▼"; font-size: .7em; }
.bar { position: relative; height: .55rem; min-width: 4rem; border-radius: .3rem; background: var(--track); overflow: hidden; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--accent); } .bar.bad i { background: var(--bad); }
  .bar.warn i { background: var(--warn); }
dl.facts { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .25rem 1.25rem; margin: 0; font-size: .9rem; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
svg { display: block; max-width: 100%; height: auto; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.misses { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem; margin: 0 0 1.5rem; padding: 0;
  list-style: none; }
.misses li { padding: .6rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; font-size: .85rem;
  line-height: 1.35; }
.misses img { display: block; width: 100%; height: 8.25rem; object-fit: contain; margin-bottom: .45rem; background: #fff;
  border-radius: .25rem; }
.misses b { font-weight: 600; } .misses .file { display: block; margin-top: .2rem; font-size: .75rem; color: var(--soft);
  overflow-wrap: anywhere; }
footer { margin-top: 3rem; padding-bottom: 2rem; color: var(--soft); font-size: .85rem; }
@media (max-width: 30rem) {
  main { padding-top: 1.25rem; } main, footer { padding-left: .8rem; padding-right: .8rem; }
  h1 { font-size: 1.4rem; } .tiles { grid-template-columns: 1fr 1fr; gap: .5rem; } .tile { padding: .6rem .7rem; }
    .tile b { font-size: 1.35rem; }
  .misses { grid-template-columns: 1fr 1fr; gap: .5rem; } .misses img { height: 7rem; }
  dl.facts { grid-template-columns: 1fr; gap: 0; } dl.facts dd { margin-bottom: .45rem; } th, td { padding: .3rem .4rem; }
}
@media print { body { background: #fff; } .card, .tile { break-inside: avoid; } }
"""
"""CSS, light and dark, down to the width of a phone. A verdict's colour is its class: good, bad, warn or plain."""
