"""action=protocol: the settings of a run next to those of the code behind the published tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from bench.config import PROJECT, Experiment, read_action, read_experiment
from bench.errors import printable, unknown

COMMONSENSE = "commonsense_170k"
ABSENT = object()


@dataclass(frozen=True)
class ProtocolSettings:
    """What to compare with: `llm_adapters`, `hyplora`, or None for the code of the protocol."""

    code: str | None


@dataclass(frozen=True)
class Setting:
    """A setting of the public code and of a run; the note says why they differ, or what to type."""

    name: str
    published: Any
    ours: Any
    same: bool
    note: str = ""


def protocol(config: dict[str, Any]) -> dict[str, Any]:
    """Show the comparison; nothing is run."""
    experiment, code = read_experiment(config), read_action(ProtocolSettings, config).code
    source, settings = compared(experiment, code)
    for setting in settings:
        line = f"{setting.name}: {_text(setting.published)}"
        if not setting.same:
            line += f"; here {_text(setting.ours)}: {setting.note}"
        print(printable(f"{'same     ' if setting.same else 'different'}  {line}"))
    same = sum(setting.same for setting in settings)
    return {"summary": f"{same} of {len(settings)} settings as in {source}"}


def compared(experiment: Experiment, code: str | None = None) -> tuple[str, list[Setting]]:
    """The public code's name, and each of its settings with that of a run.

    The code is `llm_adapters` or `hyplora`; None for the one that the run's protocol follows.

    Raises:
        InputError: there is no such code.
    """
    path = PROJECT / "results" / "published" / "code.yaml"
    facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    common = facts.pop("common")
    code = code or ("llm_adapters" if experiment.protocol.name == "llm_adapters" else "hyplora")
    if code not in facts:
        raise unknown("action.code", code, facts)
    listed = [*facts[code]["settings"], *common]
    return facts[code]["source"], [s for fact in listed for s in _settings(fact, experiment)]


def _settings(fact: dict[str, Any], experiment: Experiment) -> Iterator[Setting]:
    """The setting that a fact is about; none if the run has no such setting."""
    commonsense = COMMONSENSE in experiment.data.train
    published = fact["commonsense"] if commonsense and "commonsense" in fact else fact["value"]
    for name in (experiment.method.name, experiment.model.published):
        if isinstance(published, dict):
            published = published.get(name, published.get("other", ABSENT))
    ours = fact.get("ours", published)
    if key := fact.get("key"):
        section, _, name = key.partition(".")
        own = getattr(experiment, section)
        ours = own.options.get(name, ABSENT) if section == "method" else getattr(own, name)
    if published is ABSENT or ours is ABSENT:
        return
    given = sorted(ours) if isinstance(ours, list) else ours
    wanted = sorted(published) if isinstance(published, list) else published
    same = given in (wanted, fact.get("also", wanted))
    note = fact.get("why") or f"give {(key or '').removesuffix('.name')}={_text(published)}"
    yield Setting(fact["name"], published, ours, same, "" if same else note)


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "none"}[value]
    return f"[{','.join(value)}]" if isinstance(value, list) else str(value)
