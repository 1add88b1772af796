"""What a sweep file says about a report on pretraining runs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

TWINS = {
    "helm_d": ("llama_twin", "llama_twin_matched"),
    "helm_mice": ("deepseek_twin", "deepseek_twin_matched"),
}


@dataclass(frozen=True)
class PretrainingSpec:
    """The `pretraining:` mapping of a sweep file, checked.

    Attributes:
        name: stem of the files that are written.
        title: heading of the report.
        twins: for each model its Euclidean twin or list of twins.
        published: stem of the file in results/published to show with it, or None.

    Raises:
        ValueError: the name can't be used in file names.
    """

    name: str
    title: str
    twins: Mapping[str, str | Sequence[str]] = field(default_factory=lambda: dict(TWINS))
    published: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", str(self.name)):
            raise ValueError(f"name is {self.name!r}, but it names files: use letters and digits")

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Each model with each of its twins."""
        return [
            (model, twin)
            for model, twins in self.twins.items()
            for twin in ([twins] if isinstance(twins, str) else twins)
        ]
