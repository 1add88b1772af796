"""What the methods cost beside peft's LoRA: time, memory, parameters.

Needs torch, transformers and peft alone: `python -m bench.efficiency --help` runs where nothing
else of this project's dependencies is installed, and leaves a file that the runner imports.
"""
