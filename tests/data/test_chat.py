"""Chat templates: what is asked, what is trained on, and where an answer ends."""

import copy
import dataclasses

import pytest
import yaml

from bench.config import PROJECT
from bench.data.batches import IGNORED, encode_training
from bench.data.chat import has_template, prompt_ids, training_ids, turn_end
from bench.data.problems import Problem
from bench.data.prompts import Protocol
from bench.errors import InputError

# With a system prompt of its own, a beginning of the text, and a line break after a turn, which the
# base has stopped before.
TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] != 'system' %}Be brief.\n{% endif %}"
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
SUM = Problem("mawps", " What is 1+1? ", "", "1+1=2\nThe answer is 2.", "2")
OPENED = "<s>Be brief.\n[user] What is 1+1?</s>\n[assistant] "


@pytest.fixture
def tokenizer(tiny):
    changed = copy.deepcopy(tiny[1])
    changed.chat_template = TEMPLATE
    return changed


@pytest.fixture(scope="module")
def protocol():
    def read(name, **changes):
        keys = yaml.safe_load((PROJECT / f"conf/protocol/{name}.yaml").read_text())
        if keys.pop("defaults", None):
            keys = yaml.safe_load((PROJECT / "conf/protocol/fast.yaml").read_text()) | keys
        return Protocol(**keys | changes)

    return read


def test_a_row_is_the_whole_conversation_up_to_the_end_of_the_turn(tokenizer, protocol):
    prompts, rows = training_ids([(SUM.instruction, SUM.output)], tokenizer, protocol("chat"))
    assert tokenizer.decode(prompts[0]) == OPENED
    assert tokenizer.decode(rows[0]) == f"{OPENED}{SUM.output}</s>"
    assert prompts == prompt_ids([SUM.instruction], tokenizer, protocol("chat"))
    assert rows[0].count(tokenizer.bos_token_id) == 1
    assert turn_end(tokenizer) == tokenizer.eos_token_id


def test_the_assistants_turn_alone_counts_in_the_loss(tokenizer, protocol):
    ((example,), _) = encode_training((SUM,), tokenizer, protocol("chat"), 512)
    target = [label for label in example.labels if label != IGNORED]
    assert tokenizer.decode(target) == f"{SUM.output}</s>"
    assert example.ids[-1] == target[-1] == tokenizer.eos_token_id


def test_other_protocols_put_their_prompt_into_the_users_message(tokenizer, protocol):
    plain = protocol("fast", template="chat")
    ((example,), _) = encode_training((SUM,), tokenizer, plain, 512)
    asked = OPENED.replace("What is 1+1?", "Question: What is 1+1?\nAnswer:")
    assert tokenizer.decode(example.ids) == f"{asked}{SUM.output}</s>"


def test_the_token_that_ends_a_turn_may_be_another_than_that_of_the_text(tokenizer, protocol):
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})
    after = "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}"
    tokenizer.chat_template = TEMPLATE.replace("</s>", "<end>") + after
    rows = training_ids([(SUM.instruction, SUM.output)], tokenizer, protocol("chat"))[1]
    assert rows[0][-1] == turn_end(tokenizer) == tokenizer.convert_tokens_to_ids("<end>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    )
    rows = training_ids([("a", "b")], tokenizer, protocol("chat"))[1]
    assert tokenizer.decode(rows[0]) == "user: a\nassistant: b\n</s>"


def test_a_truncated_row_ends_as_the_protocol_says(tokenizer, protocol):
    short = {"max_length": 30, "cut_long_rows": True}
    whole = training_ids([(SUM.instruction, SUM.output)], tokenizer, protocol("chat"))[1][0]
    for ends, tail in ((False, []), (True, [tokenizer.eos_token_id])):
        cut = protocol("chat", **short, cut_rows_end=ends)
        ((example,), _) = encode_training((SUM,), tokenizer, cut, 512)
        assert example.cut and example.ids == whole[:30] + tail


def test_braces_and_markers_of_a_problem_stay_text(tokenizer, protocol):
    text = "Let {{ x }} be {% if 1 %} {instruction}."
    (ids,) = prompt_ids([text], tokenizer, protocol("chat"))
    assert text in tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no') }}", "can't be rendered: .*no"),
        ("{% for %}", "can't be rendered"),
        ("{{ ''.__class__.__mro__ }}", "can't be rendered: .*unsafe"),
        ("{{ messages | length }}", "does not render the answer verbatim after the prompt"),
        (None, "has no chat template"),
    ],
)
def test_a_template_that_can_not_be_used_is_refused_in_one_line(
    tokenizer, protocol, template, message
):
    tokenizer.chat_template = template
    with pytest.raises(InputError, match=message) as found:
        training_ids([("a", "b")], tokenizer, protocol("chat"))
    assert "\n" not in str(found.value)


def test_a_template_in_a_folder_is_found_without_loading_it(tmp_path, tiny, tokenizer):
    for folder, saved, found in (("with", tokenizer, True), ("without", tiny[1], False)):
        saved.save_pretrained(tmp_path / folder)
        assert has_template(tmp_path / folder) is found


def test_a_protocol_with_markers_of_its_own_has_no_template(protocol):
    with pytest.raises(InputError, match="would add them again"):
        dataclasses.replace(protocol("fast"), style="chatml", template="chat")
    with pytest.raises(InputError, match="unknown protocol"):
        protocol("fast", template="chatml")
