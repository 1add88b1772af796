"""Items that share a text are not independent, but clusters of items are."""

from __future__ import annotations

import numpy as np

from bench.report.statistics.variance import Array


def by_cluster(values: Array, clusters: Array) -> Array:
    """Values of clusters with the same mean as the items, and the variance of a cluster sample.

    The mean over items is a ratio of the clusters' totals T and sizes s. For n items in C clusters
    its linearisation has the values `mean + (T - mean s) C / n` (Cochran, Sampling Techniques,
    1977, section 9A), which are the clusters' means if all have one size.

    Args:
        values: `(..., items)`.
        clusters: the number of each item's cluster, from 0 to C - 1, each used.

    Returns:
        `(..., clusters)`.
    """
    order = np.argsort(clusters, kind="stable")
    sizes = np.bincount(clusters)
    totals = np.add.reduceat(values[..., order], np.cumsum(sizes) - sizes, axis=-1)
    mean = values.mean(axis=-1, keepdims=True)
    return mean + (totals - mean * sizes) * (len(sizes) / values.shape[-1])
