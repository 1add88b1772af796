"""hyplora-bench: reproduce, check and extend Hyperbolic Fine-Tuning for LLMs (arXiv 2410.04010)."""

__version__ = "0.1.0"
