"""Intervals of a table's cells, and tests of its rows against LoRA.

`differences.py` has what a comparison found, `crossed.py` the test and why it is this one,
`bootstrap.py` the intervals, `simulate.py` the command that measures both.
"""

from bench.report.statistics.beside import beside
from bench.report.statistics.cells import with_intervals
from bench.report.statistics.differences import BesideReference, PairedDifference
from bench.report.statistics.outcomes import outcomes_of

__all__ = ["BesideReference", "PairedDifference", "beside", "outcomes_of", "with_intervals"]
