"""Sweeps: many runs with one command, planned, launched, and shown as a table.

`grid` runs all combinations, `search` lets Optuna choose, `tuned` searches for each method and
then compares the winners. hydra_plugins/ registers the three with Hydra.
"""
