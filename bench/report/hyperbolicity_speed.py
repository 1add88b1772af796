"""The part of an efficiency report that sets delta-hyperbolicity beside the public routine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report.layout import Section


def hyperbolicity_section(found: Mapping[str, Any]) -> Section:
    """The speeds and the memory.

    Args:
        found: as `bench.efficiency.hyperbolicity.measure_hyperbolicity` gives it.
    """
    rows = [
        (
            name,
            str(size["points"]),
            f"{1e3 * routine['seconds']:.3g} ms",
            f"{routine['ratio']:.1f} [{routine['ratio_low']:.1f}, {routine['ratio_high']:.1f}]",
            f"{routine['peak_bytes'] / 2**20:.0f} MiB",
        )
        for size in found["sizes"]
        for name, routine in size["routines"].items()
    ]
    counts = ", ".join(f"{size['spaces']} of {size['points']} points" for size in found["sizes"])
    apart = max(size["difference"] for size in found["sizes"])
    notes = (
        f"{found['prompts']:,} prompts of {found['tokens']} tokens in {found['dimension']} "
        f"dimensions, every base point, distances included: {found['seconds']:.1f} s.",
        "Speed: spaces a second as a multiple of the public routine's; median over rounds, "
        f"quartiles in brackets. The same float32 distances for all: {counts}, at once where a "
        "routine can.",
        "Memory: what the process grew by for one space.",
        f"Ours and the public routine's first point differ by at most {apart:.0e}.",
    )
    header = ("Delta-hyperbolicity", "Points", "A space", "Speed", "Memory")
    return Section("Delta beside the public routine", header, tuple(rows), notes)
