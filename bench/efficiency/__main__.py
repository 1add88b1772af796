"""python -m bench.efficiency --out FILE: the measurement without the runner's dependencies."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.efficiency.cases import CASES
from bench.efficiency.helm import measure_helm
from bench.efficiency.measure import ALL, DTYPES, EfficiencySettings, measure
from bench.efficiency.regimes import REGIMES
from bench.files import write_json


def main() -> None:
    """Read the command line, measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.efficiency", description=__doc__)
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=["llama3-8b"])
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=["bfloat16"])
    parser.add_argument("--methods", nargs="+", choices=ALL, default=[], help="default: all")
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=[], help="default: all")
    parser.add_argument("--compiled", action="store_true", help="also with torch.compile")
    parser.add_argument("--liger", action="store_true", help="also with Liger's kernels")
    parser.add_argument("--rounds", type=int, default=11, help="repetitions of each workload")
    parser.add_argument("--seconds", type=float, default=0.05, help="approximate, of a repetition")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    parser.add_argument("--helm-tokens", type=int, default=0, help="512: HELM vs. its twins")
    parser.add_argument("--helm-batch", type=int, default=1, help="rows of a step there")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    given = vars(parser.parse_args())
    out, tokens, batch = (given.pop(key) for key in ("out", "helm_tokens", "helm_batch"))
    settings = EfficiencySettings(**given)
    out.parent.mkdir(parents=True, exist_ok=True)  # an error here would come after the measurement
    report = measure(settings)
    if tokens:
        report["helm"] = measure_helm(tokens, settings.rounds, batch)
    write_json(out, report)
    print(out)


if __name__ == "__main__":
    main()
