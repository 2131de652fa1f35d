"""Studies and measurements, from the checkout: `python -m benchmarks.NAME`, and `--help` of each.

Studies train many cells, keep what is finished in a file of JSON lines in docs/, and write a page:
`run` finds and trains what is missing, `page` puts tables and figure into the page.

- `accuracy.run`, `.page`: what encoders each objective makes, beside lightly's same method
- `bad_pairs.run`, `.page`: whether planted bad pairs are found, and what that gains
- `cmim.run`, `.page`: whether cMIM's codes are better than A-MIM's, by batch size

Measurements print a table and, with `--json`, one JSON line. Figures are in docs/benchmarks.md.

- `ingest.run`: images a second of every way to read two views
- `remote`: reading from an object store 30 ms away, beside this disk
- `overhead.run`: steps a second through Ray, beside a plain torch loop
- `objectives`: time and memory of the losses themselves, beside lightly's
- `patches`: a step on masked patches, beside encoding all patches
- `pair_costs`: what miner and arbiter take of a step
- `recovery`: from a death to the next new step, and what a checkpoint costs
- `import_times`: CPU seconds of imports and of the cheapest commands, beside `import torch`

Whether an alarm is raised where it should be:

- `collapse`: collapsing and healthy runs of 200 steps
- `broken_jepa`: I-JEPA without twin and stop-gradient, drawn for docs/objectives.md

`shared/` has what several need. Nothing in `pipeline`, `jobs` or an installed package imports this.
"""
