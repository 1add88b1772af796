"""Intervals of a table's cells, and paired tests between its rows."""

from bench.report.statistics.differences import BesideReference, PairedDifference

__all__ = ["BesideReference", "PairedDifference"]
