"""The report on pretraining runs."""
