"""lm-eval on two tasks of the tests' own: one with choices, one with generated answers."""

import json
import random
import re

import pytest
import torch

import bench.experiment
from bench.config import EvaluationSettings
from bench.errors import InputError
from bench.evaluation.lm_eval_bridge import (
    check_tasks,
    evaluate_tasks,
    load_tasks,
    read_results,
)
from bench.experiment import run
from bench.methods import attach
from bench.tracking.store import Store
from tests.helpers import interrupted, random_model

pytest.importorskip("lm_eval", reason="the extra [lm-eval] is not installed")

CHOICES = [
    {"question": "2+3=", "choices": ["5.", "8.", "seven"], "answer": 0},
    {"question": "Tom has 4 books and", "choices": ["= 2", "gets 3 more.", "x"], "answer": 1},
    {"question": "9-4=", "choices": ["7.", "apples", "5."], "answer": 2},
    {"question": "7*8=", "choices": ["56.", "12.", "1."], "answer": 1},
]
SUMS = [
    {"question": "2+3=5. 4+4=8. 5+1=", "answer": "6"},
    {"question": "9-4=5. 6+6=", "answer": "12"},
    {"question": "8/2=4. 3*3=", "answer": "77"},
]
YAML = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
doc_to_text: "{{{{question}}}}"
metadata:
  version: 2.5
"""
PICK = """
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: answer
target_delimiter: " "
metric_list: [{metric: acc}]
"""
WRITE = """
output_type: generate_until
doc_to_target: "{{answer}}"
generation_kwargs: {max_gen_toks: 6, until: ["."], do_sample: false}
metric_list: [{metric: exact_match}]
filter_list:
  - name: number
    filter:
      - {function: regex, regex_pattern: '\\d+'}
      - {function: take_first}
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A folder with two tasks, `own_pick` and `own_write`."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    for name, rows, rest in (("own_pick", CHOICES, PICK), ("own_write", SUMS, WRITE)):
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / f"{name}.yaml").write_text(YAML.format(name=name, data=data) + rest)
    return folder


def adapted(base, method):
    """The base with an adapter that changes its outputs."""
    if method == "prefix":
        return attach(base, "prefix", {"num_virtual_tokens": 5}).eval()
    options = {"target_modules": ["q_proj", "down_proj"], "r": 4, "lora_alpha": 8.0}
    torch.manual_seed(1)
    model = attach(base, method, options | {"curvature": 0.5}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "hyplora_B" in name:
                parameter.normal_(0, 0.1)
    return model


def log_likelihood(model, tokenizer, question, choice):
    """Log-likelihood of a choice's tokens from one forward pass without padding."""
    prompt = tokenizer(question)["input_ids"]
    ids = tokenizer(f"{question} {choice}")["input_ids"]
    assert ids[: len(prompt)] == prompt
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(logits[i - 1, ids[i]].item() for i in range(len(prompt), len(ids)))


def settings(names, folder=None, batch_size=2, **changes):
    include = None if folder is None else str(folder)
    return EvaluationSettings(batch_size, lm_eval=names, lm_eval_include=include, **changes)


def asked(model, tokenizer, tasks, tmp_path, names=("own_pick", "own_write"), batch_size=2):
    own = settings(names, tasks, batch_size)
    return evaluate_tasks(own, load_tasks(own, tmp_path), model, tokenizer, tmp_path)


@pytest.mark.parametrize("method", ["none", "hyplora"])
def test_the_choice_is_the_most_likely_one(fresh_tiny, tasks, tmp_path, method):
    base, tokenizer = fresh_tiny
    model = base if method == "none" else adapted(base, method)
    right = 0
    for row in CHOICES:
        by_hand = [log_likelihood(model, tokenizer, row["question"], c) for c in row["choices"]]
        right += by_hand.index(max(by_hand)) == row["answer"]
    found = asked(model, tokenizer, tasks, tmp_path, ["own_pick"])["own_pick"]["tasks"]["own_pick"]
    assert found["metrics"]["acc"]["value"] == right / len(CHOICES)
    assert found["n"] == 4 and found["version"] == 2.5 and found["fewshot"] == 0
    assert found["metrics"]["acc"]["stderr"] > 0


@pytest.mark.parametrize("kind", ["hyplora", "prefix", "helm_d", "helm_mice"])
def test_log_likelihoods_in_padded_batches_are_those_of_single_rows(fresh_tiny, kind):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    base, tokenizer = fresh_tiny
    helm = kind.startswith("helm")
    model = random_model(kind, tokenizer).eval() if helm else adapted(base, kind)
    pairs = [(row["question"], f" {choice}") for row in CHOICES for choice in row["choices"]]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    found = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=5).loglikelihood(requests)
    by_hand = [log_likelihood(model, tokenizer, q, c.strip()) for q, c in pairs]
    assert [value for value, _ in found] == pytest.approx(by_hand, abs=1e-4)


def test_a_generated_answer_is_what_the_model_generates(tiny, tasks, tmp_path):
    model, tokenizer = tiny
    right = 0
    for row in SUMS:
        ids = tokenizer(row["question"], return_tensors="pt")
        written = model.generate(**ids, max_new_tokens=6, do_sample=False)
        text = tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        right += re.findall(r"\d+", text.split(".")[0])[:1] == [row["answer"]]
    found = asked(model, tokenizer, tasks, tmp_path, ["own_write"])["own_write"]["tasks"]
    assert 0 < right < len(SUMS)
    assert found["own_write"]["metrics"]["exact_match.number"]["value"] == right / len(SUMS)


def test_the_states_of_model_tokenizer_and_generators_are_preserved(fresh_tiny, tasks, tmp_path):
    model, tokenizer = adapted(fresh_tiny[0], "hyplora"), fresh_tiny[1]
    model.train()
    model.base_model.model.lm_head.eval()
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    modes = [m.training for m in model.modules()]
    settings = model.generation_config.to_dict()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    said = json.dumps(tokenizer.init_kwargs, default=str), tokenizer.padding_side
    states = random.getstate(), torch.get_rng_state()
    asked(model, tokenizer, tasks, tmp_path)
    assert [m.training for m in model.modules()] == modes
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert model.generation_config.to_dict() == settings
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert (json.dumps(tokenizer.init_kwargs, default=str), tokenizer.padding_side) == said
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])


def test_a_finished_task_is_not_evaluated_again(tiny, tasks, tmp_path, monkeypatch):
    first = asked(*tiny, tasks, tmp_path, ["own_pick"])
    monkeypatch.setattr("lm_eval.models.huggingface.HFLM.loglikelihood", lambda *_, **__: 1 / 0)
    both = asked(*tiny, tasks, tmp_path)
    assert both["own_pick"] == first["own_pick"] and set(both) == {"own_pick", "own_write"}
    assert read_results(tmp_path) == both


def test_a_batch_that_does_not_fit_in_memory_is_halved(tiny, tasks, tmp_path, monkeypatch):
    from lm_eval.models.huggingface import HFLM

    (tmp_path / "a").mkdir()
    whole, plain = HFLM._model_call, asked(*tiny, tasks, tmp_path / "a", ["own_pick"])

    (tmp_path / "b").mkdir()

    def narrow(self, inputs, *rest, **named):
        if len(inputs) > 1:
            raise torch.OutOfMemoryError
        return whole(self, inputs, *rest, **named)

    monkeypatch.setattr(HFLM, "_model_call", narrow)
    halved = asked(*tiny, tasks, tmp_path / "b", ["own_pick"], batch_size=4)
    assert halved["own_pick"]["tasks"] == plain["own_pick"]["tasks"]


@pytest.mark.parametrize(("own", "asked_for", "used"), [(None, 2, 2), (1, None, 1), (0, 2, 0)])
def test_a_task_keeps_its_own_examples_unless_overridden(tasks, tmp_path, own, asked_for, used):
    if own is not None:
        with (tasks / "own_pick.yaml").open("a") as file:
            file.write(f"num_fewshot: {own}\n")
    loaded = load_tasks(settings(["own_pick"], tasks, lm_eval_fewshot=asked_for), tmp_path)
    (task,) = loaded["own_pick"]["tasks"].values()
    assert task.get_config("num_fewshot") == used


def test_unknown_tasks_and_missing_rows_and_folders_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"unknown lm-eval task 'arc_eazy'\. .*arc_easy"):
        check_tasks(settings(["arc_eazy"]))
    with pytest.raises(InputError, match=r"rows of arc_easy can't be load.*unset HF_HUB_OFFLINE"):
        load_tasks(settings(["arc_easy"]), tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        check_tasks(settings(["own_pick"], tmp_path / "missing"))


@pytest.fixture
def overrides(small, tasks):
    return (
        *small,
        "method=hyplora",
        "evaluation.lm_eval=[own_pick,own_write]",
        f"evaluation.lm_eval_include={tasks}",
        "evaluation.lm_eval_limit=2",
    )


def test_a_killed_run_resumes_after_its_first_task_and_records_all_results(
    compose, overrides, monkeypatch
):
    experiment = compose(*overrides)
    with monkeypatch.context() as patch:
        patch.setattr("lm_eval.models.huggingface.HFLM.generate_until", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(experiment)
    with monkeypatch.context() as patch:
        patch.setattr("lm_eval.models.huggingface.HFLM.loglikelihood", interrupted)
        patch.setattr("bench.runs.finetuning.finetune", interrupted)
        record = run(experiment).record
    found = record["lm_eval"]
    assert found["own_write"]["tasks"]["own_write"]["n"] == 2
    assert found["own_pick"]["lm_eval"] and found["own_pick"]["seconds"] > 0
    assert "lm_eval_include" in record["hashes"]
    store = Store(experiment.tracking.results, None, "hyplora-bench")
    logged = store.client.get_run(record["run_id"]).data.metrics
    value = found["own_pick"]["tasks"]["own_pick"]["metrics"]["acc"]["value"]
    assert logged["lm_eval/own_pick/acc"] == value
    assert "lm_eval/own_write/exact_match.number_stderr" in logged


def test_evaluated_tasks_are_part_of_the_identity_and_others_are_not(
    compose, overrides, small, tasks
):
    def name(*words):
        return bench.experiment.prepare(compose(*words)).identity

    first = name(*overrides)
    with (tasks / "own_pick.jsonl").open("a") as file:
        file.write(json.dumps(CHOICES[0]) + "\n")
    plain = name(*small, "method=hyplora")
    assert len({first, name(*overrides), plain, name(*overrides, "evaluation.lm_eval=[x]")}) == 4
    unasked = ("evaluation.lm_eval=[]", "evaluation.lm_eval_limit=3")
    assert name(*overrides, *unasked) == plain


@pytest.mark.parametrize("chat", [False, True])
def test_prompts_are_put_into_the_chat_template_if_asked(tiny, tasks, tmp_path, monkeypatch, chat):
    kind, found = type(tiny[1]), []
    real = kind.apply_chat_template

    def spy(self, *given, **options):
        found.append(real(self, *given, **options))
        return found[-1]

    monkeypatch.setattr(kind, "apply_chat_template", spy)
    template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    monkeypatch.setattr(tiny[1], "chat_template", template)
    own = settings(["own_write"], tasks)
    evaluate_tasks(own, load_tasks(own, tmp_path), *tiny, tmp_path, chat=chat)
    assert {*found} == ({f"[{row['question']}]" for row in SUMS} if chat else set())
