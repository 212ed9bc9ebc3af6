"""The look of the page: one style sheet, light and dark, for wide screens and phones.

The five colours are Okabe and Ito's, told apart by the colour-blind; dashes and markers say the
same again.
"""

from sekd_plugin.analysis.report.markup import Markup

STYLE = Markup("""
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #5b6470;
  --line: #d7dce2; --card: #f7f8fa; --better: #00674b; --worse: #a33c00;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #7a6a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #14171a; --soft: #9aa4b0;
  --line: #333a42; --card: #1c2126; --better: #4fd1a5; --worse: #ff9d66;
  --c0: #56b4e9; --c1: #ff8a3d; --c2: #2fd3a0; --c3: #e8a0c8; --c4: #f0e442; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 68rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p, li { max-width: 46rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
.warn { border-left: 4px solid var(--c1); padding: .4rem .8rem; background: var(--card); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; font-size: .9rem; vertical-align: bottom; }
td small { display: block; color: var(--soft); }
.better { color: var(--better); font-weight: 600; }
.worse { color: var(--worse); font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: 0;
  padding: .9rem; }
.chart { width: 100%; height: auto; } .chart text { fill: var(--soft); font-size: 12px; }
.chart .label { fill: var(--ink); font-size: 12px; }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.line { fill: none; stroke-width: 2; } .faint { stroke-width: 1.5; opacity: .8; }
.gamma { stroke-width: 1.5; stroke-dasharray: 2 4; } .sheet { fill: var(--paper); }
.bar { fill: var(--c0); } .file { font-family: system-ui, "Segoe UI", Roboto, sans-serif; }
.touch { fill: transparent; stroke: none; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); }
.s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); }
.marker { stroke-width: 1.5; fill: var(--card); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1rem; padding: 0;
  margin: .3rem 0; font-size: .9rem; } .legend svg { vertical-align: middle; margin-right: .4rem; }
.sentence { margin: 0 0 1rem; } .sentence dl { display: grid; gap: .15rem 1rem; margin: 0;
  grid-template-columns: max-content 1fr; } .sentence dt { color: var(--soft); font-size: .9rem; }
.sentence dd { margin: 0; overflow-wrap: anywhere; } .sentence .given { font-weight: 600; }
@media (max-width: 34rem) { .sentence dl { grid-template-columns: 1fr; }
  .sentence dd { margin-bottom: .4rem; } body { padding: .8rem; } }
details { margin: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .7rem;
  overflow-x: auto; font-size: .82rem; white-space: pre-wrap; overflow-wrap: anywhere; }
""")
