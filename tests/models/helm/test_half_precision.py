"""Errors of attention in bfloat16, by the size of the points."""

import copy

import pytest
import torch

from bench.models.helm import HelmForCausalLM
from bench.models.helm.attend import _factors, attend
from bench.models.helm.sizes import model_config

TAU = 19.7  # initial temperature for the width 390


def exact_points(space):
    space = space.double()
    return torch.cat([(space.square().sum(-1, keepdim=True) + 1).sqrt(), space], dim=-1)


def exact_scores(q, k):
    q, k = exact_points(q), exact_points(k)
    return 2 / TAU * (q[..., 1:] @ k[..., 1:].mT - q[..., :1] @ k[..., :1].mT)


def drawn(seed, std):
    generator = torch.Generator().manual_seed(seed)
    return (std * torch.randn(1, 6, 256, 64, generator=generator)).to(torch.bfloat16)


def centroid_errors(found, weights, v):
    """Relative errors of the heads' centroids."""
    a = weights @ exact_points(v)
    length = (a[..., :1].square() - a[..., 1:].square().sum(-1, keepdim=True)).sqrt()
    expected = (a / length).transpose(1, 2)
    found = found.double().unflatten(-1, (6, 65))
    return (found - expected).norm(dim=-1) / expected.norm(dim=-1)


# Bounds of mean and largest error. In float32 only the result is rounded; in bfloat16 the error is
# largest if the mean of large points is nearly one of them.
@pytest.mark.parametrize(
    ("std", "in_float32", "mean", "largest"),
    [
        (1, True, 0.003, 0.005),
        (3, True, 0.003, 0.005),
        (10, True, 0.003, 0.005),
        (1, False, 0.003, 0.02),
        (3, False, 0.004, 0.3),
        (10, False, 0.005, 1.0),
    ],
)
def test_the_centroid(std, in_float32, mean, largest):
    q, k, v = drawn(0, 1), drawn(1, 1), drawn(2, std)
    forbidden = torch.ones(256, 256, dtype=torch.bool).triu(1)
    weights = exact_scores(q, k).masked_fill(forbidden, -1e18).softmax(-1)
    found = attend(q, k, v, torch.tensor([TAU]), 1.0, None, in_float32)
    error = centroid_errors(found, weights, v)
    assert error.mean() < mean and error.max() < largest


def test_autocast_does_not_round_what_is_computed_in_float32():
    given = (drawn(0, 1), drawn(1, 1), drawn(2, 3), torch.tensor([TAU]), 1.0, None, True)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(*given)
    assert torch.equal(found, attend(*given))


@pytest.mark.parametrize("std", [1, 3, 10])
def test_split_times_have_a_third_of_the_error_of_rounded_ones(std):
    q, k = drawn(0, std), drawn(1, std)
    expected = exact_scores(q, k)
    expected = expected - expected.mean(-1, keepdim=True)  # cancels in the softmax

    def error(query, key):
        scores = query.double() @ key.double().mT  # as in kernels
        return (scores - scores.mean(-1, keepdim=True) - expected).abs().max().item()

    rounded = [exact_points(x).to(torch.bfloat16).double() for x in (q, k)]
    rounded[0][..., 0] *= -1
    plain = error((rounded[0] * 2 / TAU).to(torch.bfloat16), rounded[1])
    assert error(*_factors(q, k, torch.tensor([2 / TAU]), 1.0)) < plain / 3


@pytest.mark.parametrize("mode", ["half", "half, attention in float32", "autocast"])
@pytest.mark.parametrize("kind", ["helm_d", "helm_mice"])
def test_logits_of_whole_texts_and_of_decoding_are_near_those_of_float64(kind, mode):
    torch.manual_seed(0)
    config = model_config(kind, "tiny", 97, num_hidden_layers=2)
    config.float32_attention, autocast = "float32" in mode, mode == "autocast"
    model = HelmForCausalLM(config).to(torch.bfloat16)
    ids = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(0))
    expected = copy.deepcopy(model).double()(input_ids=ids).logits[:, -1]
    if autocast:
        model.float()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = model(input_ids=ids, labels=ids)
        out.loss.backward()
        with torch.no_grad():
            cache = model(input_ids=ids[:, :-1], use_cache=True).past_key_values
            last = model(input_ids=ids[:, -1:], past_key_values=cache).logits[:, -1]
    for logits in (out.logits[:, -1], last):
        assert (logits.double() - expected).norm() < 0.03 * expected.norm()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_a_single_query_is_attended_in_float32():
    q, k, v = drawn(0, 1)[:, :, -1:], drawn(1, 1), drawn(2, 10)
    found = attend(q, k, v, torch.tensor([TAU]), 1.0, None)
    assert centroid_errors(found, exact_scores(q, k).softmax(-1), v).max() < 0.005
