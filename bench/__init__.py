"""hyplora-bench: reproduce, check and extend Hyperbolic Fine-Tuning for LLMs (arXiv 2410.04010)."""

import logging

__version__ = "0.1.0"

# Where bitsandbytes is installed, peft loads it, and on some processors it tells at every start of
# a kernel for weights of 4 bits that it could have.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
