"""Where Hydra finds the sweepers: it takes plugins from the namespace `hydra_plugins` alone.

There must be no __init__.py next to this file, or the plugins of other packages would be hidden.
Hydra imports it for --help too, so nothing heavy is imported here.
"""

from importlib import import_module

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper


class Grid(Sweeper):
    """`hydra/sweeper=grid`, the default."""

    implementation = "bench.sweep.grid:GridSweep"

    def __init__(self, params=None, **settings):
        self.params, self.settings = dict(params or {}), settings

    def setup(self, *, hydra_context, task_function, config):
        """Take what Hydra gives a sweeper before it calls `sweep`."""
        self.context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        """Run the sweep: see `bench.sweep.sweep.Sweep`."""
        tunes = self.config.action.name == "tune"
        implementation = "bench.sweep.tune:TuneSweep" if tunes else self.implementation
        module, _, name = implementation.partition(":")
        sweep = getattr(import_module(module), name)(
            self.context, self.config, self.launcher, self.params, arguments, self.settings
        )
        return sweep.run()


class Optuna(Grid):
    """`hydra/sweeper=optuna`; see conf/hydra/sweeper/optuna.yaml."""

    implementation = "bench.sweep.search:SearchSweep"


class Tuned(Grid):
    """`hydra/sweeper=tuned`; see conf/hydra/sweeper/tuned.yaml."""

    implementation = "bench.sweep.tuned:TunedSweep"


# Under Hydra's name for its default, too: an override in conf/config.yaml would win over the one in
# a sweep's file.
for name in ("basic", "grid"):
    ConfigStore.instance().store(
        group="hydra/sweeper",
        name=name,
        node={"_target_": f"{__name__}.Grid", "params": None, "max_retries": 0},
    )
