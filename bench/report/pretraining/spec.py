"""What a sweep file says of a report on pretraining runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

TWINS = {"helm_d": "llama_twin", "helm_mice": "deepseek_twin"}


@dataclass(frozen=True)
class PretrainingSpec:
    """The `pretraining:` mapping of a sweep file, checked.

    Attributes:
        name: stem of the files that are written.
        title: heading of the report.
        twins: by model the Euclidean one that it is compared with.
        published: stem of the file in results/published to show with it, or None.

    Raises:
        ValueError: the name can't be that of a file.
    """

    name: str
    title: str
    twins: Mapping[str, str] = field(default_factory=lambda: dict(TWINS))
    published: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", str(self.name)):
            raise ValueError(f"name is {self.name!r}, but it names files: use letters and digits")
