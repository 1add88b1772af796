"""Pruning of a search's trials, from the process that runs one."""

from __future__ import annotations

from collections.abc import Callable

from bench.errors import Pruned


def pruner(
    storage: str | None, study: str | None, id: int | None
) -> Callable[[int, float], None] | None:
    """A function of (step, validation loss) that raises `Pruned`; None outside of a search.

    Args:
        storage: of the Optuna study.
        study: its name.
        id: of the trial.
    """
    if storage is None or id is None:
        return None
    from optuna import load_study
    from optuna.pruners import MedianPruner
    from optuna.trial import Trial

    from bench.sweep.study import open_storage

    opened = load_study(study_name=study, storage=open_storage(storage), pruner=MedianPruner())
    trial = Trial(opened, id)

    def watch(step: int, loss: float) -> None:
        trial.report(loss, step)
        if trial.should_prune():
            raise Pruned(f"pruned at step {step}: loss {loss:.4g} is above the trials' median")

    return watch
