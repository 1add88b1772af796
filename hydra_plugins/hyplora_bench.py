"""Where Hydra finds our sweepers: it takes plugins from the namespace `hydra_plugins` alone.

There must be no __init__.py beside this file, or the plugins of other packages would be hidden.
"""

from hydra.core.config_store import ConfigStore

from bench.sweep.grid import GridSweeper
from bench.sweep.optuna_sweeper import SearchSweeper
from bench.sweep.tuned import TunedSweeper


class Grid(GridSweeper):
    """`hydra/sweeper=grid`, the default; see bench/sweep/grid.py."""


class Optuna(SearchSweeper):
    """`hydra/sweeper=optuna`; see conf/hydra/sweeper/optuna.yaml."""


class Tuned(TunedSweeper):
    """`hydra/sweeper=tuned`; see conf/hydra/sweeper/tuned.yaml."""


# Under Hydra's name for its default, too: an override in conf/config.yaml would win over the one in
# a sweep's file.
for name in ("basic", "grid"):
    ConfigStore.instance().store(
        group="hydra/sweeper",
        name=name,
        node={"_target_": f"{__name__}.Grid", "params": None, "max_retries": 0},
    )
