"""The report of an embedding study, from a made-up study."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from bench.report.embeddings.findings import signs_of
from bench.report.embeddings.report import embeddings_report
from bench.report.formats import frame, to_markdown
from tests.report.formats.grids import rows

LAW = {"gamma": 1.9, "low": 1.8, "high": 2.0, "xmin": 2, "tail": 40, "ks": 0.02, "p": 0.5}
LAW["against"] = {
    "lognormal": {"ratio": -0.5, "p": 0.4},
    "exponential": {"ratio": 90.0, "p": 1e-9},
}
FIGURES = [f"{kind}_{of}" for kind in ("freq", "norm") for of in ("mean", "min", "max")]


def correlation(rho, role="input", centred=False, tokens_of="all", counted="texts"):
    figures = {"rho": rho, "low": rho and rho - 0.1, "high": rho and rho + 0.1}
    kind = {"role": role, "centred": centred, "tokens_of": tokens_of, "counted": counted}
    return kind | {"n": 30} | figures


def deltas(own, values, gaussian, shuffled, base_point="first", metric="euclidean", **more):
    """Prompts with a spread of 0.01 around each value, the same for all three."""
    spread = (-0.01, 0.0, 0.01)
    row = {"set": "mawps", "label": "MAWPS", "metric": metric, "base_point": base_point}
    kinds = {own: values, "gaussian": gaussian, "shuffled": shuffled}
    return row | {k: [v + s for s in spread] for k, v in kinds.items()} | more


def layer(module, variation, rms=1.0, curvature=None):
    return {
        "module": module,
        "tokens": 500,
        "rms_mean": rms,
        "rms_variation": variation,
        "rms_largest": 3 * rms,
        "gates": [{"curvature": 1.0, "variation": variation}],
        "delta": 0.2,
        "data_curvature": 1.93,
        "adapter_curvature": curvature,
    }


def model(name, method):
    return {"model": name, "method": method, "run": f"{name:.>12}"[:12]}


def group(name, norm, missing=()):
    word = {"word": "to", "text": " to", "count": 9, "norm": 0.5}
    figures = dict.fromkeys(FIGURES, None if missing else 2.0) | {"norm_mean": norm}
    missing = [{"word": word, "why": why} for word, why in missing]
    return {"group": name, "words": [] if missing else [word], "missing": missing, **figures}


def space(name, dimension, sampled, first, exact):
    row = {"space": name, "note": "a note", "dimension": dimension, "points": 50}
    return row | {"sampled": sampled, "first": first, "exact": exact}


@pytest.fixture
def report():
    base = {"model": "base model", "method": "none", "run": None}
    hyplora = model("HypLoRA (K=1.0)", "hyplora")
    cloud = space("Gaussian cloud, 4096 dimensions", 4096, [0.04, 0.05], [0.03, 0.03], [0.05, 0.06])
    toy = {"name": "toy", "published": None, "dimension": 8, "vocabulary": 100}
    return {
        "model": toy | {"tied": True, "front": "<s>", "input_scale": 1.0},
        "device": "cpu",
        "data": {
            "source": "llm_adapters",
            "rows": "tests",
            "sets": {"mawps": {"label": "MAWPS", "rows": 3, "tokens": 90, "types": 30}},
            "prompts": {"mawps": {"label": "MAWPS", "prompts": 3, "too_long": 0}},
        },
        "settings": {"power_replicas": 100, "points": 50, "samples": 2, "seed": 0},
        "frequency": [{"set": "mawps", "label": "MAWPS", "tokens": 90, "types": 30} | LAW],
        "unseen": {"tokens": 70, "norm_mean": 3.0, "norm_sd": 0.1},
        "norms": {
            "groups": [
                group("G1", 0.5),
                group("G4", 1.5),
                group("G3", None, [("fruit", "3 tokens")]),
            ],
            "correlations": [correlation(-0.5), correlation(-0.4, centred=True)],
            "state_groups": [],
        },
        "spaces": [space("tree", None, [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]), cloud],
        "prompts": [
            deltas("embeddings", 0.2, 0.1, 0.3, point, metric)
            for metric in ("euclidean", "cosine")
            for point in ("first", "all")
        ],
        "hidden": [
            deltas("states", value, 0.1, 0.2, point, **each)
            for each, value in ((base, 0.25), (model("LoRA", "lora"), 0.25), (hyplora, 0.20))
            for point in ("first", "all")
        ],
        "layers": [
            base | {"layers": [layer("q_proj", 0.05), layer("down_proj", 0.9, 2.0)]},
            hyplora | {"layers": [layer("q_proj", 0.04, 1.0, 1.0), layer("down_proj", 0.8, 2.0)]},
        ],
    }


def text_of(report):
    return to_markdown(embeddings_report(report))


def test_the_exponent_is_shown_with_the_papers(report):
    (row,) = (row for row in rows(text_of(report)) if row[:3] == ["MAWPS", "90", "30"])
    assert row[3:] == [
        *("1.90 [1.80, 2.00]", "2", "40", "0.020", "0.50"),
        *("-0.5", "0.40", "+90.0", "&lt;0.001", "1.90"),
    ]


def test_a_set_without_a_fit_has_an_empty_row(report):
    report["frequency"][0] |= dict.fromkeys(LAW)
    text = text_of(report)
    assert "| MAWPS | 90 | 30 | - | - | - | - | - | - | - | - | - | 1.90 |" in text
    assert "too few different counts" in text


def test_a_p_value_that_no_replica_reached_is_below_one_of_them(report):
    report["frequency"][0]["p"] = 0.0
    text = text_of(report).replace("&lt;", "<")
    assert "rejected for MAWPS (p <0.01)" in text and " | 0.020 | <0.01 | " in text
    found = frame(embeddings_report(report))
    (p,) = found[found["column"] == "p"].to_dict("records")
    assert p["text"] == "<0.01" and p["value"] != p["value"]


def test_the_action_can_be_imported_first():
    subprocess.run([sys.executable, "-c", "import bench.embeddings.action"], check=True)


@pytest.mark.parametrize(
    ("rhos", "answer"),
    [
        ((-0.5, -0.4), "Yes, as the paper says"),
        ((0.5, 0.4), "No, unlike in the paper"),
        ((0.05, 0.0), "No, unlike in the paper"),
        ((-0.5, 0.4), "It depends on the types and on the origin"),
    ],
)
def test_whether_frequent_types_are_closer_follows_from_the_intervals(report, rhos, answer):
    report["norms"]["correlations"] = [
        correlation(rho, centred=centred) for rho, centred in zip(rhos, (False, True), strict=True)
    ]
    assert f"of the input embedding? {answer}" in text_of(report)


def test_an_untied_output_has_an_answer_of_its_own(report):
    assert "output embedding?" not in text_of(report)
    report["norms"]["correlations"].append(correlation(0.5, role="output"))
    text = text_of(report)
    assert "origin of the output embedding? No" in text
    assert ["output", "all", "30", "+0.50 [+0.40, +0.60]"] in rows(text)


def test_the_last_blocks_output_is_no_claim_of_the_paper(report):
    report["norms"]["correlations"].append(correlation(-0.5, role="states"))
    report["norms"]["state_groups"] = report["norms"]["groups"]
    text = text_of(report)
    assert "closer to the origin of the last block's output? Yes: all types" in text
    assert "after the last block by mean norm: G1 &lt; G4, as by increasing specificity" in text
    assert "## The same words after the last block" in text


def test_a_correlation_of_too_few_types_is_left_empty(report):
    report["norms"]["correlations"] = [correlation(None)]
    text = text_of(report)
    assert ["input", "all", "30", "-"] in rows(text) and "input embedding?" not in text


def test_word_groups_have_the_papers_values_for_a_base_that_it_has(report):
    assert "paper's" not in str([row for row in rows(text_of(report)) if row[0] == "G1"])
    report["model"]["published"] = "Gemma-7B"
    text = text_of(report)
    assert ["", "paper's Gemma-7B", "4,934.4", "1,838", "8,539", "3.160", "3.060", "3.299"] in rows(
        text
    )
    assert "Not available here: fruit (3 tokens)" in text
    assert "G1 < G4, as in the paper" in text.replace("&lt;", "<")


def test_published_deltas_are_in_the_euclidean_row_of_their_set(report):
    report["model"]["published"] = "llama3-8b"
    found = [row for row in rows(text_of(report)) if row[0] == "MAWPS" and len(row) == 9]
    assert [(row[1], row[-1]) for row in found] == [("Euclidean", "0.06 ± 0.01"), ("cosine", "-")]
    assert found[0][2:5] == ["0.20 ± 0.01", "0.10 ± 0.01", "0.30 ± 0.01"]


@pytest.mark.parametrize(
    ("gaussian", "shuffled", "verdict"),
    [
        (0.3, 0.4, "more tree-like than lengths and vectors alone make it"),
        (0.1, 0.3, "but not more than random points"),
        (0.3, 0.1, "no evidence of a tree"),
        (0.2, 0.2, "no evidence of a tree"),
    ],
)
def test_a_delta_is_judged_by_its_controls(report, gaussian, shuffled, verdict):
    # Noise of its own, so that a difference of 0 has an interval around it.
    row = deltas("embeddings", 0.2, gaussian, shuffled)
    row["gaussian"] = [v + n for v, n in zip(row["gaussian"], (0.005, -0.01, 0.006), strict=True)]
    row["shuffled"] = [v + n for v, n in zip(row["shuffled"], (-0.01, 0.005, 0.004), strict=True)]
    report["prompts"], report["hidden"] = [row], []
    assert verdict in text_of(report)


def test_a_method_is_compared_with_the_base_and_hyplora_with_lora(report):
    text = text_of(report)
    assert "LoRA n.s. in 1 of 1; HypLoRA (K=1.0) lower in 1 of 1" in text
    assert "HypLoRA (K=1.0) vs. LoRA: lower in 1 of 1" in text
    row = next(row for row in rows(text) if row[:2] == ["", "HypLoRA (K=1.0)"])
    assert row[2:] == ["0.20 ± 0.01", "0.10 ± 0.01", "0.20 ± 0.01"] * 2


def test_deltas_are_corrected_over_the_comparisons_of_a_table():
    draws = np.random.default_rng(0)
    noise = draws.normal(0, 1, 50)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    zero = np.zeros(50)

    def shifted(t):
        return (noise + t / np.sqrt(50), zero)

    # p of 0.03 is significant alone and not among five; p of 1e-5 is in both.
    weak, strong = (stats.t(49).isf(p / 2) for p in (0.03, 1e-5))
    assert signs_of({("weak", ""): shifted(weak)}) == {("weak", ""): 1}
    pairs = {("null", str(i)): shifted(0.0) for i in range(3)}
    pairs |= {("weak", ""): shifted(weak), ("strong", ""): shifted(-strong)}
    assert signs_of(pairs) == dict.fromkeys(pairs, 0) | {("strong", ""): -1}


def test_the_family_of_each_table_is_stated(report):
    text = text_of(report)
    # The base with two controls, two models with the base, and HypLoRA with LoRA.
    for family in (
        "hidden layer: n.s.: p above 0.05 by Holm's correction over the 5",
        "over the 2",
    ):
        assert f"{family} comparisons of the table." in text


def test_the_papers_last_layer_is_shown_for_methods_that_it_has(report):
    report["model"]["published"] = "Gemma-7B"
    for row in report["hidden"]:
        row["set"] = row["label"] = "gsm8k"
    report["data"]["prompts"] = {"gsm8k": {"label": "GSM8K", "prompts": 3, "too_long": 2}}
    text = text_of(report)
    last = [row[-1] for row in rows(text) if len(row) == 9 and row[1] != "Model" and row[-1] != "-"]
    assert last[-3:] == ["0.28 ± 0.04", "0.21 ± 0.05", "0.20 ± 0.03"]
    assert "GSM8K 3 (2 left out as too long)" in text


def test_modules_with_the_same_input_are_one_row(report):
    base = report["layers"][0]["layers"]
    base += [layer("v_proj", 0.05)]
    text = text_of(report)
    assert ["q_proj, v_proj", "1.00", "0.05", "3.0", "0.05", "0.20"] in rows(text)
    assert "Norms vary most in the input of down_proj (coefficient of variation 0.90)" in text
    assert ["HypLoRA (K=1.0)", "0.04", "0.80"] in rows(text)


def test_its_csv_has_one_number_per_column(report):
    found = frame(embeddings_report(report))
    gamma = found[(found["table"] == "frequency") & (found["column"] == "gamma")].iloc[0]
    assert (gamma["value"], gamma["low"], gamma["high"]) == (1.9, 1.8, 2.0)


@pytest.mark.parametrize(
    ("section", "change", "text"),
    [
        ("frequency", {"p": 0.02}, "; rejected for MAWPS (p 0.02);"),
        ("data", {"source": "synthetic"}, "by construction"),
        ("model", {"input_scale": 55.43}, "multiplies its embedding by 55.43"),
        ("model", {"input_scale": None}, "adds to or rotates its embedding"),
    ],
)
def test_what_is_said_follows_from_the_study(report, section, change, text):
    assert text not in text_of(report)
    part = report[section]
    (part[0] if isinstance(part, list) else part).update(change)
    assert text in text_of(report)


def test_what_the_paper_and_the_runs_lack_is_said(report):
    text = text_of(report)
    assert "; not rejected for MAWPS;" in text and "LLaMA3-8B 0.06, 0.07, 0.07, 0.08" in text
    found = rows(text)
    assert ["of the data", "1.93", "1.93"] in found and ["HypLoRA (K=1.0)", "1.00", "-"] in found
    report["hidden"] = report["hidden"][:2]
    assert "make reproduce-table2" in text_of(report)
