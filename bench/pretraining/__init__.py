"""Pretraining runs: what one is (`run.py`), and how it is asked for (`settings.py`)."""
