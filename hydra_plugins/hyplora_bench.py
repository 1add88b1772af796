"""Where Hydra finds our sweeper: it takes plugins from the namespace `hydra_plugins` alone.

There must be no __init__.py beside this file, or the plugins of other packages would be hidden.
"""

from hydra.core.config_store import ConfigStore

from bench.sweeper import GridSweeper


class Grid(GridSweeper):
    """`hydra/sweeper=grid`, the default; see bench/sweeper.py."""


ConfigStore.instance().store(
    group="hydra/sweeper", name="grid", node={"_target_": f"{__name__}.Grid", "params": None}
)
