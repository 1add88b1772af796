"""Sweeps: many runs with one command, planned, launched, and shown as a table.

    params -> jobs (composed, looked up) -> launch -> records -> table, figures, the sweep's own run

`grid` runs all combinations, `search` lets Optuna choose, `tuned` searches for each method and
then compares the winners. Hydra finds the three in hydra_plugins/.
"""
