"""Pretraining runs: one run in `run.py`, its settings in `settings.py`."""
