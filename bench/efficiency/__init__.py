"""The cost of the methods relative to peft's LoRA: time, memory, parameters.

`python -m bench.efficiency --help` needs torch, transformers and peft alone, and writes a file that
`action=efficiency action.file=FILE` reports on.
"""
