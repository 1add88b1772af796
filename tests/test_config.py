"""The configuration into typed settings."""

import pytest

from bench.errors import InputError, unknown


def test_the_learning_rate_of_a_method_is_that_for_the_base(compose):
    assert compose("method=lora").train.lr == 3e-3
    assert compose("method=lora", "model=hub", "model.path=a/b").train.lr == 3e-4
    assert compose("method=lora", "train.lr=0.5").train.lr == 0.5


def test_auto_is_a_curvature_and_needs_validation_rows(compose):
    auto = compose("method=hyplora", "curvature=auto")
    assert auto.method.curvature == "auto" and auto.name == "hyplora K=auto seed 0"
    without = ("curvature=auto", "data.validation=0")
    with pytest.raises(InputError, match=r"curvature=auto .* data\.validation=60, or a number"):
        compose("method=hyplora", *without)
    compose("method=lora", *without)
    compose("method=hyplora", *without, "adapter=/saved")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("evaluation.split=validation method=none", "trains nothing"),
        ("evaluation.split=validation data.validation=0", r"data\.validation=60"),
        ("train.keep=best data.validation=0", r"data\.validation=120"),
        ("train.keep=best train.validations=0", r"give train\.validate_every=80"),
        ("model=helm_d", "pretrain it with action=pretrain model=helm_d"),
        ("data=text data.path=/", "data=text is for pretraining"),
        ("model=hub model.path=a/b ~method.lr.other", "no learning rate for base a/b"),
        (
            "evaluation.compile=true evaluation.batching=continuous",
            "needs evaluation.batching=static",
        ),
        ("train.compile=true train.devices=2 train.sharded=true", "train.sharded=true, whose"),
        ("train.compile=true model.kernels=liger", "can't be combined with train.compile=true"),
        ("method=hyplora curvature=0", "curvature must be a positive number, got 0"),
        ("method=hyplora curvature=-1.0", "sectional curvature is -1/K"),
        (
            "method=hyplora curvature=Auto",
            "got 'Auto'.*or 'auto', which measures one",
        ),
        ("method=hyplora curvature=inf", "positive number"),
        ("method=hyplora_authors curvature=inf", r"finite number, got inf \(the raw parameter\)"),
        ("method=hyplora curvature=[1]", r"positive number, got \[1\]"),
        ("method.r=0", "at least 1, got 0"),
        ("method.r=true", "method.r must be a whole number"),
        ("method.target_modules=5", r"method.target_modules=\[q_proj,v_proj\]"),
        ("method.target_modules=[]", "method.target_modules must name layers"),
        ("method.lr=5", "give train.lr=RATE"),
        ("method.lr.other=fast", "method.lr must be a number for each base"),
        ("method.name=[a]", "method.name must be text"),
        ("seed=-1", "seed must be"),
        ("seed=1.5", "seed must be a whole number"),
        ("seed=99999999999999999999", "seed must be a whole number from 0 to"),
        ("force=maybe", "force must be true or false, got 'maybe'"),
        ("model.kernels=ligr", "Did you mean liger"),
        ("model.prompt_style=llama", "Did you mean llama3"),
        ("model.context=0", "model.context must be at least 1"),
        ("model.quantization=int4", "Did you mean int8"),
        ("train.epochs=0", "train.epochs must be greater than 0"),
        ("train.epochs=inf", "train.epochs must be a number"),
        ("train.lr=0", "train.lr must be greater than 0"),
        ("train.lr=nan", "train.lr must be a number, got nan"),
        ("train.lr=fast", "train.lr must be a number, got 'fast'"),
        ("train.warmup=1.5", "below 1, or a whole number of steps"),
        ("train.warmup=-1", "below 1, or a whole number of steps"),
        ("train.validate_every=0", "train.validate_every must be at least 1"),
        ("train.keep=bset", "Did you mean best"),
        ("train.micro_tokens=0", "train.micro_tokens must be at least 1, got 0"),
        ("train.batch_size=1.5", "train.batch_size must be a whole number, got 1.5"),
        ("train.batch_size=0", "train.batch_size must be at least 1"),
        ("train.decay=cosin", "Did you mean cosine"),
        ("train.precision=bf16", "Did you mean bf16-mixed"),
        ("data.validation=-5", "data.validation must be at least 0"),
        ("data.test_size=0", "data.test_size must be at least 1"),
        ("data.tests=mawps", r"write 'data.tests=\[mawps\]'"),
        ("data.tests=[null]", "each entry of data.tests must be text, got None"),
        ("+data.tets=[mawps]", "Did you mean tests"),
        ("protocol.max_new_tokens=0", "protocol.max_new_tokens must be at least 1"),
        ("protocol.num_beams=0", "protocol.num_beams must be at least 1"),
        ("protocol.train_prompt=hello", "must contain {instruction}"),
        ("protocol.answer_form='('", "not a valid regular expression"),
        ("protocol.tolerance=-1", "protocol.tolerance must be at least 0"),
        ("evaluation.batch_size=0", "at least 1"),
        ("evaluation.batching=statc", "Did you mean static"),
        ("train.decay=[linear]", "train.decay must be text"),
        ("tracking.experiment=''", "tracking.experiment is empty"),
    ],
)
def test_bad_settings_are_refused_with_what_is_allowed(compose, overrides, message):
    with pytest.raises(InputError, match=message):
        compose(*overrides.split())


def test_an_unknown_name_is_refused_with_the_nearest_ones():
    assert "Did you mean hyplora" in str(unknown("method", "hyplorra", ["lora", "hyplora", "none"]))
    assert "Did you mean" not in str(unknown("method", "zzz", ["lora"]))
