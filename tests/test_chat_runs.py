"""Runs of an instruct base: asked in its chat template, or in plain text."""

import copy

import pytest

from bench.errors import InputError, warn_once
from bench.evaluation import evaluate
from bench.experiment import run
from bench.identity import identity_of_record
from tests.helpers import save_random_llama

END = "<turn_end>"
TEMPLATE = (
    "<s>{% for m in messages %}{{ m['role'] }}\n{{ m['content'] }}<turn_end>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def instruct(tmp_path_factory, tiny):
    """A folder with a random LLaMA whose turns end with a token of their own."""
    folder, tokenizer = tmp_path_factory.mktemp("instruct"), copy.deepcopy(tiny[1])
    tokenizer.add_special_tokens({"additional_special_tokens": [END]})
    tokenizer.chat_template = TEMPLATE
    save_random_llama(folder, tokenizer)
    return folder


@pytest.fixture
def chosen(compose, small, instruct):
    def build(*overrides, path=instruct):
        return compose(*small, "model=local", f"model.path={path}", *overrides)

    return build


@pytest.fixture
def generated(monkeypatch):
    """The stop tokens and prompts that the evaluation generates with."""
    found, real = [], evaluate.generate

    def spy(model, tokenizer, prompts, *rest):
        texts = [tokenizer.decode(ids) for ids in prompts.values()]
        found.append((model.generation_config.eos_token_id, texts))
        return real(model, tokenizer, prompts, *rest)

    monkeypatch.setattr(evaluate, "generate", spy)
    return found


def test_an_instruct_base_is_asked_in_its_template_and_stops_at_the_end_of_a_turn(
    chosen, generated
):
    record = run(chosen("protocol=chat", "method=hyplora")).record
    assert record["config"]["protocol"]["template"] == "chat" and record["protocol"] == "chat"
    assert record["identity"] == identity_of_record(record)
    for stops, texts in generated:
        assert stops == [2, 1536]
        for text in texts:
            assert text.startswith("<s>user\n") and text.endswith(f"{END}\nassistant\n")
            assert text.count("<s>") == text.count(END) == 1


def test_plain_prompts_of_an_instruct_base_are_warned_of(chosen, generated, caplog):
    warn_once.cache_clear()
    run(chosen("method=none"))
    assert "has a chat template" in caplog.text and "protocol=chat uses the template" in caplog.text
    assert all(stops == [2] and "assistant" not in "".join(texts) for stops, texts in generated)


def test_a_base_without_a_template_is_refused_before_it_is_loaded(chosen, local_base):
    settings = chosen("protocol.template=chat", path=local_base)
    with pytest.raises(
        InputError, match="has no chat template, so the base is not an instruct model"
    ):
        run(settings)
    assert not (settings.tracking.results / "runs").exists()
