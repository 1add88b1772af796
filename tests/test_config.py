import pytest

from bench.errors import InputError, unknown
from bench.identity import identity

HASHES = {"base": "b", "tests": "t", "train": "r"}


def name(experiment, precision="32-true", dtype="torch.float32", hashes=HASHES):
    return identity(experiment, hashes, precision, dtype)


@pytest.mark.parametrize(
    ("method", "identity"),
    [
        ("lora", "11b73fdb05fe046be5ecb7ec2f5c890ef499c675055c8887d676b94419adc64d"),
        ("hyplora", "d5bc30353b563c55b39bb48357bf03c22ad3dd4b602339fa0125e9f787fb67ea"),
        ("hyplora_boost", "ca3d98e58b1635f7ad86f761050183b7c4c921f100efc402ca26bdfd80898ea3"),
        ("hyplora_authors", "2e1849432cb23906c85eda621370f68cb4c5d75ab8673f069647b5e96d98589b"),
        ("none", "44bba34c27debc033b7cba5d77ec7c18c0804874fef7912784368f98a6005572"),
    ],
)
def test_runs_on_record_are_found_by_the_default_configuration(compose, method, identity):
    """A key that is new must not change them; RESULT_VERSION or a default that is changed does."""
    assert name(compose(f"method={method}")) == identity


@pytest.mark.parametrize(
    ("method", "curvature", "identity"),
    [
        ("hyplora", 0.5, "8a6192e3c479359243a5143bf8b67ba3f5aaad2d40b65b8644f5d428266c6b49"),
        ("lora_matched", 2, "2c88ee9040a4254e13462e61d5b98262b5c9492b54ef282e1283d44edc8e5511"),
    ],
)
def test_runs_on_record_with_another_curvature_are_found(compose, method, curvature, identity):
    assert name(compose(f"method={method}", f"curvature={curvature}")) == identity


@pytest.mark.parametrize(
    "override",
    [
        "train.micro_batch_size=4",
        "train.devices=2",
        "train.checkpoint_minutes=9",
        "train.validations=1",
        "train.validate_every=7",
        "evaluation.batch_size=3",
        "data.root=/elsewhere",
        "force=true",
        "tracking.experiment=other",
        "model.trust_remote_code=true",
        "method.lora_alpha=32.0",
        "model.published=LLaMA3-8B",
        "curvature=0.1",
    ],
)
def test_what_cannot_change_a_result_of_lora_is_no_part_of_its_identity(compose, override):
    assert name(compose("method=lora")) == name(compose("method=lora", override))


@pytest.mark.parametrize(
    "override",
    [
        "method=hyplora",
        "method.r=8",
        "seed=1",
        "train.lr=0.1",
        "train.epochs=1",
        "train.batch_size=8",
        "train.train_on_inputs=true",
        "protocol.max_new_tokens=9",
        "protocol.choice_rule=lower",
        "protocol.target='{output}'",
        "+protocol.strip=false",
        "protocol.num_beams=4",
        "+protocol.choice_max_new_tokens=9",
        "method.module=hyplora",
    ],
)
def test_what_can_change_a_result_of_lora_is_part_of_its_identity(compose, override):
    assert name(compose("method=lora")) != name(compose("method=lora", override))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["train.keep=best"], [], False),
        (["train.keep=best"], ["train.keep=best", "train.validations=2"], False),
        (["train.keep=best"], ["train.keep=best", "train.validate_every=2"], False),
        (
            ["train.keep=best", "train.validate_every=2"],
            ["train.keep=best", "train.validate_every=2", "train.validations=2"],
            True,
        ),
    ],
)
def test_when_it_was_validated_counts_where_the_best_adapter_is_kept(compose, one, other, same):
    assert (name(compose(*one)) == name(compose(*other))) is same


def test_curvature_is_part_of_the_identity_of_a_method_that_has_one(compose):
    assert name(compose("method=hyplora")) != name(compose("method=hyplora", "curvature=0.1"))


@pytest.mark.parametrize(
    "method",
    ["hyplora", "hyplora_boost", "hyplora_authors", "hyplora_authors_simplified", "lora_matched"],
)
def test_auto_is_a_curvature_like_any_other(compose, method):
    auto = compose(f"method={method}", "curvature=auto")
    assert auto.method.curvature == "auto"
    assert auto.name == f"{method} K=auto seed 0"
    numbers = [compose(f"method={method}", f"curvature={K}") for K in (0.1, 1, 2)]
    assert name(auto) not in map(name, numbers)


def test_auto_is_no_part_of_the_identity_of_a_method_without_a_curvature(compose):
    assert name(compose("method=lora", "curvature=auto")) == name(compose("method=lora"))


def test_auto_is_measured_on_validation_rows_so_there_must_be_some(compose):
    with pytest.raises(InputError, match=r"curvature=auto .* data\.validation=60, or a number"):
        compose("method=hyplora", "curvature=auto", "data.validation=0")
    compose("method=lora", "curvature=auto", "data.validation=0")
    compose("method=hyplora", "curvature=auto", "data.validation=0", "adapter=/saved")


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "train.lr=0.3",
        "data.train=[SVAMP]",
        "protocol.target='{output}'",
        "+protocol.cut_long_rows=true",
        "+protocol.style=a",
    ],
)
def test_the_base_as_it_is_does_not_depend_on_training(compose, override):
    assert name(compose("method=none")) == name(compose("method=none", override))


@pytest.mark.parametrize(
    ("override", "precision", "dtype"),
    [
        ("evaluation.batch_size=3", "32-true", "torch.bfloat16"),
        ("train.micro_batch_size=2", "bf16-mixed", "torch.float32"),
        ("train.devices=2", "bf16-mixed", "torch.float32"),
    ],
)
def test_a_batch_size_counts_where_rounding_depends_on_it(compose, override, precision, dtype):
    assert name(compose(), precision, dtype) != name(compose(override), precision, dtype)


def test_precision_dtype_and_contents_are_part_of_the_identity(compose):
    run = compose()
    others = {
        name(run, precision="bf16-mixed"),
        name(run, dtype="torch.bfloat16"),
        name(run, hashes=HASHES | {"train": "x"}),
    }
    assert len(others | {name(run)}) == 4


def test_the_rate_of_a_method_is_that_for_the_base(compose):
    assert compose("method=lora").train.lr == 3e-3
    assert compose("method=lora", "model=hub", "model.path=a/b").train.lr == 3e-4
    assert compose("method=lora", "train.lr=0.5").train.lr == 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("curvature=0", "curvature must be a positive number, got 0"),
        ("curvature=-1.0", "sectional curvature is -1/K"),
        ("curvature=flat", "positive number, got 'flat'"),
        ("curvature=Auto", "got 'Auto'.*or 'auto', which measures one for each layer"),
        ("curvature=inf", "positive number"),
        ("method.r=0", "at least 1, got 0"),
        ("seed=-1", "seed must be"),
        ("train.epochs=0", "train.epochs must be greater than 0"),
        ("train.lr=0", "train.lr must be greater than 0"),
        ("train.lr=nan", "train.lr must be a number, got nan"),
        ("train.epochs=inf", "train.epochs must be a number"),
        ("force=maybe", "force must be true or false, got 'maybe'"),
        ("data.validation=-5", "data.validation must be at least 0"),
        ("data.test_size=0", "data.test_size must be at least 1"),
        ("protocol.max_new_tokens=0", "protocol.max_new_tokens must be at least 1"),
        ("protocol.num_beams=0", "protocol.num_beams must be at least 1"),
        ("protocol.train_prompt=hello", "must contain {instruction}"),
        ("protocol.answer_form='('", "no regular expression"),
        ("train.lr=fast", "train.lr must be a number, got 'fast'"),
        ("train.batch_size=1.5", "train.batch_size must be a whole number, got 1.5"),
        ("train.decay=cosin", "Did you mean cosine"),
        ("train.precision=bf16", "Did you mean bf16-mixed"),
        ("data.tests=mawps", r"write 'data.tests=\[mawps\]'"),
        ("data.test_size=many", "data.test_size must be a whole number"),
        ("+data.tets=[mawps]", "Did you mean tests"),
        ("evaluation.batch_size=0", "at least 1"),
        ("curvature=nan", "positive number, got nan"),
        ("curvature=[1]", r"positive number, got \[1\]"),
        ("seed=1.5", "seed must be a whole number"),
        ("seed=99999999999999999999", "seed must be a whole number from 0 to"),
        ("method.r=true", "method.r must be a whole number"),
        ("method.target_modules=5", r"method.target_modules=\[q_proj,v_proj\]"),
        ("method.target_modules=[]", "method.target_modules must name layers"),
        ("method.lr=5", "give train.lr=RATE"),
        ("method.lr.other=fast", "method.lr must be a number for each base"),
        ("method.name=[a]", "method.name must be text"),
        ("method.trained=maybe", "method.trained must be true or false"),
        ("model.path=[a,b]", "model.path must be text"),
        ("train.decay=[linear]", "train.decay must be text"),
        ("train.batch_size=0", "train.batch_size must be greater than 0"),
        ("data.tests=[null]", "each entry of data.tests must be text, got None"),
        ("protocol.tolerance=-1", "protocol.tolerance must not be negative"),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_is_allowed(compose, override, message):
    with pytest.raises(InputError, match=message):
        compose("method=hyplora", override)


def test_an_unknown_name_is_told_with_the_nearest_ones():
    assert "Did you mean hyplora" in str(unknown("method", "hyplorra", ["lora", "hyplora", "none"]))
    assert "Did you mean" not in str(unknown("method", "zzz", ["lora"]))
