"""Every method of conf/method/ on every family of bases: a step, a validation, an answer."""

import shutil
from pathlib import Path

import pytest

from bench.errors import InputError
from bench.experiment import run

CONF = Path(__file__).resolve().parents[2] / "conf" / "method"
METHODS = sorted(path.stem for path in CONF.glob("*.yaml"))
FAMILIES = ("llama", "gemma", "gemma3", "qwen2", "gpt_neox", "helm_d", "helm_mice")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A tracking store's file: to copy it is faster than to make one."""
    from bench.tracking.store import Store

    folder = tmp_path_factory.mktemp("store")
    Store(folder, None, "hyplora-bench")
    return folder / "mlflow.db"


@pytest.fixture
def tried(compose, family_base, tmp_path, store):
    """The outcome of a method on a family, trained for two steps."""

    def outcome(family, *overrides):
        (tmp_path / "results").mkdir()
        shutil.copy(store, tmp_path / "results")
        return run(
            compose(
                "model=local",
                f"model.path={family_base(family)}",
                "train.adapter.r=4",
                "train.adapter.bottleneck_size=4",
                "train.epochs=1",
                "train.batch_size=2",
                "train.validations=1",
                "data.train=[mawps]",
                "data.tests=[mawps]",
                "data.train_size=4",
                "data.validation=2",
                "data.test_size=2",
                "protocol.max_new_tokens=4",
                *overrides,
            )
        )

    return outcome


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_method_runs_on_each_family(tried, family, method):
    if (family, method) == ("helm_mice", "prefix"):
        pytest.skip("refused, as the next test shows")
    outcome = tried(family, f"method={method}")
    record = outcome.record
    assert len((outcome.folder / "predictions.jsonl").read_text().splitlines()) == 2
    if method == "none":
        assert record["parameters"]["trainable"] == 0
    else:
        assert record["parameters"]["trainable"] > 0 and record["training"]["steps"] == 2
        assert all(loss > 0 for _, loss in record["training"]["losses"])


@pytest.mark.parametrize("family", ["helm_mice", "deepseek_v3"])
def test_prefix_tuning_of_a_base_that_caches_latents_is_refused(tried, family):
    with pytest.raises(InputError, match=r"keeps a latent in their place: take .*method=lora"):
        tried(family, "method=prefix")


def test_what_makes_keys_and_values_of_a_latent_is_adapted_in_their_place(family_base):
    from transformers import AutoModelForCausalLM

    import bench.models.helm  # noqa: F401
    from bench.methods.layers import in_names_of

    names = ["q_proj", "k_proj", "v_proj", "down_proj"]
    found = {}
    for family in ("helm_d", "helm_mice"):
        base = AutoModelForCausalLM.from_pretrained(family_base(family))
        found[family] = in_names_of(base, {"target_modules": names})["target_modules"]
    assert found["helm_d"] == names
    assert found["helm_mice"] == ["q_proj", "kv_a_proj_with_mqa", "kv_b_proj", "down_proj"]


def test_the_fused_layer_of_gpt_neox_is_adapted_once(family_base):
    from transformers import AutoModelForCausalLM

    from bench.methods.layers import in_names_of

    base = AutoModelForCausalLM.from_pretrained(family_base("gpt_neox"))
    names = ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"]
    found = in_names_of(base, {"target_modules": names, "r": 4})
    fused = ["query_key_value", "dense_h_to_4h", "dense_4h_to_h"]
    assert found == {"target_modules": fused, "r": 4}


def test_a_name_that_one_layer_lacks_is_told_with_those_that_are_there(tried):
    """peft would adapt the others and say nothing."""
    with pytest.raises(InputError, match=r"names wi, and .* layers are .*dense_h_to_4h"):
        tried("gpt_neox", "method=lora", "method.target_modules=[q_proj,wi]")
