"""Tables from the records of finished runs.

    records -> build(records, spec, published) -> Table -> write(table, folder)

A record is a plain dictionary, so a table can be rebuilt wherever the records can be read: nothing
here knows models, training or the tracking store.
"""

from bench.report.compare import Comparison
from bench.report.figures.subject import draw
from bench.report.made import make_table, write_table
from bench.report.names import method_label
from bench.report.published import Published, load_published
from bench.report.render import print_table, to_csv, to_json, to_latex, to_markdown, write
from bench.report.spec import TableSpec
from bench.report.table import Cell, Column, Row, SeedValue, Table, build

__all__ = [
    "Cell",
    "Column",
    "Comparison",
    "Published",
    "Row",
    "SeedValue",
    "Table",
    "TableSpec",
    "build",
    "draw",
    "load_published",
    "make_table",
    "method_label",
    "print_table",
    "to_csv",
    "to_json",
    "to_latex",
    "to_markdown",
    "write",
    "write_table",
]
