"""The scenarios of one-step word problems and their wordings, read from scenarios.yaml."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Scenario:
    """A relation `x operation y = z` and its wordings."""

    name: str
    operation: str
    openings: list[str]
    events: list[str]
    questions: list[str]
    closings: list[str]

    @property
    def wordings(self) -> list[tuple[int, int, int]]:
        """All combinations of an opening, an event and a question, by their positions."""
        openings, events = range(len(self.openings)), range(len(self.events))
        return list(itertools.product(openings, events, range(len(self.questions))))


_data = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))

SCENARIOS = tuple(Scenario(**scenario) for scenario in _data["scenarios"])
DISTRACTORS: list[str] = _data["distractors"]
CHAIN_OPENINGS: list[str] = _data["chain_openings"]
CHAIN_EVENTS: dict[str, list[str]] = _data["chain_events"]
CHAIN_QUESTIONS: list[str] = _data["chain_questions"]
