"""hyplora-bench: reproduce, check and extend Hyperbolic Fine-Tuning for LLMs (arXiv 2410.04010)."""

import logging

__version__ = "0.1.0"

# peft imports bitsandbytes if it is installed, which logs an optional 4-bit kernel at every start.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
