"""The picture of a search: what each trial came to, and what that depended on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from bench.report.style import new_figure, save, style_of, tidy


def draw_search(
    trials: Sequence[tuple[int, Sequence[float]]],
    objectives: Sequence[tuple[str, str]],
    importances: Mapping[str, float],
    best: Sequence[int],
    folder: Path,
    name: str,
) -> list[Path]:
    """Draw a search as SVG and PNG.

    With one objective: its value over the trials with the best so far, and the importances of the
    keys. With two: the trials between both, those on the front marked.

    Args:
        trials: number and values of each finished trial.
        objectives: name and direction (`minimize`, `maximize`) of each.
        importances: share of the variance by key; may be empty.
        best: numbers of the best trials.
        folder: where the files are written.
        name: their stem.

    Returns:
        The paths.
    """
    trials = sorted(trials)
    numbers = [number for number, _ in trials]
    figure = new_figure(7.0, 2.8)
    columns = 2 if importances else 1
    axes = figure.subplots(1, columns, squeeze=False)[0]
    colour, marker = style_of(0)
    accent = style_of(4)[0]
    history = axes[0]
    if len(objectives) == 1:
        (what, direction) = objectives[0]
        values = [found[0] for _, found in trials]
        better = min if direction == "minimize" else max
        history.plot(numbers, values, marker, color=colour, markersize=4, label="trial")
        so_far = list(accumulate(values, better))
        history.step(numbers, so_far, where="post", color=accent, label="best so far")
        history.set_xlabel("trial", fontsize=8)
        history.set_ylabel(what.replace("_", " "), fontsize=8)
        history.legend(fontsize=7, frameon=False)
    else:
        first, second = objectives[:2]
        front = sorted((v[0], v[1]) for number, v in trials if number in best)
        x, y = zip(*((v[0], v[1]) for _, v in trials), strict=True)
        history.plot(x, y, marker, color=colour, markersize=4, label="trial")
        history.plot(*zip(*front, strict=True), "-D", color=accent, markersize=5, label="front")
        history.set_xlabel(first[0].replace("_", " "), fontsize=8)
        history.set_ylabel(second[0].replace("_", " "), fontsize=8)
        history.legend(fontsize=7, frameon=False)
    tidy(history, "Trials")
    if importances:
        keys = list(importances)
        axes[1].barh(range(len(keys)), [importances[key] for key in keys], color=colour)
        axes[1].set_yticks(range(len(keys)), keys)
        axes[1].invert_yaxis()
        axes[1].set_xlabel("share of the variance", fontsize=8)
        tidy(axes[1], "What it depends on (fANOVA)")
    return save(figure, folder, name)
