"""The test of differences (`crossed`), its correction (`holm`), and intervals (`bootstrap`)."""

from bench.report.statistics.beside import beside
from bench.report.statistics.cells import with_intervals
from bench.report.statistics.differences import BesideReference, PairedDifference
from bench.report.statistics.outcomes import outcomes_of

__all__ = ["BesideReference", "PairedDifference", "beside", "outcomes_of", "with_intervals"]
