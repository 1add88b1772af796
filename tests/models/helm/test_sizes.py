"""Sizes of HELM and of its Euclidean twins."""

import pytest
from transformers import AutoModelForCausalLM

from bench.errors import InputError
from bench.models.helm.sizes import MATCHED, MODELS, OF_TWIN, model_config, parameters_of

# The last number: parameters of the public models without a counterpart, namely the curvatures of
# three hyperboloids, a bias of each attention, positions, and biases of routers.
PUBLISHED = [
    ("helm_d", "120m", "lorentz", 114_770_253, 3 + 6 + 2),
    ("helm_mice", "120m", "lorentz", 126_357_123, 3 + 6 + 2 + 5 * 4),
    ("helm_mice", "1b", "lifted", 966_829_461, 3 + 16 + 15 * 8),
]


@pytest.mark.parametrize(("kind", "size", "embedding", "published", "extra"), PUBLISHED)
def test_the_published_numbers_of_parameters(kind, size, embedding, published, extra):
    config = model_config(kind, size, 128_256, aligned=False, embedding=embedding)
    assert parameters_of(config) + extra == published


@pytest.mark.parametrize("start", ["", MATCHED])
@pytest.mark.parametrize("twin", OF_TWIN)
def test_a_twin_has_the_parameters_of_its_helm_within_a_percent(twin, start):
    for size, choices in (
        ("tiny", {}),
        ("120m", {"tie_word_embeddings": True}),
        ("1b", {}),
        ("1b", {"aligned": False}),
    ):
        kinds = OF_TWIN[twin], twin + start
        ours, theirs = (model_config(kind, size, 1536, **choices) for kind in kinds)
        assert ours.num_hidden_layers == theirs.num_hidden_layers
        assert parameters_of(theirs) == pytest.approx(parameters_of(ours), rel=0.01)


@pytest.mark.parametrize("kind", MODELS)
def test_each_model_is_built_with_its_number_of_parameters(kind):
    config = model_config(kind, "tiny", 64, num_hidden_layers=2, hidden_size=64)
    model = AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == parameters_of(model.config)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(
        InputError, match="no model 'helm': use one of helm_d, helm_mice, llama_twin"
    ):
        model_config("helm", "tiny", 64)
    with pytest.raises(InputError, match="no size '7b': use one of tiny, 120m, 1b"):
        model_config("helm_d", "7b", 64)
    with pytest.raises(InputError, match="use one of 120m, 1b"):
        model_config("helm_d", "tiny", 64, aligned=False)
