"""Generation with a cache equals generation without, and the cache is as small as it says."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, DynamicCache

from bench.models.helm import HelmForCausalLM
from bench.models.helm.sizes import model_config

KINDS = ("helm_d", "helm_mice")


@pytest.fixture(scope="module")
def model_of():
    """A function that gives a random model of a kind, whose tokens differ from one to the next."""
    made = {}

    def make(kind):
        if kind not in made:
            torch.manual_seed(0)
            config = model_config(kind, "tiny", 97, num_hidden_layers=2, initializer_range=4.0)
            model = HelmForCausalLM(config).double().eval()
            for parameter in model.parameters():  # time columns and temperatures are at work, too
                if parameter.ndim == 1:
                    parameter.data += 0.05 * torch.randn_like(parameter)
            model.lm_head.weight.data *= 4
            model.generation_config.pad_token_id = 0
            made[kind] = model
        return made[kind]

    return make


def padded(seed=1):
    """Three prompts of several lengths, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 97, (3, 12), generator=generator)
    mask = torch.ones_like(ids)
    for row, padding in enumerate((0, 5, 8)):
        ids[row, :padding], mask[row, :padding] = 0, 0
    return ids, mask


def generated(model, ids, mask, **options):
    return model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False, **options
    )[:, ids.shape[1] :]


@pytest.mark.parametrize("kind", KINDS)
def test_with_and_without_a_cache_batched_and_alone(model_of, kind):
    model, (ids, mask) = model_of(kind), padded()
    batched = generated(model, ids, mask)
    assert torch.equal(batched, generated(model, ids, mask, use_cache=False))
    for row, padding in enumerate((0, 5, 8)):
        alone = generated(model, ids[row : row + 1, padding:], mask[row : row + 1, padding:])
        assert torch.equal(alone[0], batched[row])
    assert len({tuple(row.tolist()) for row in batched}) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_beams_use_the_cache_alike(model_of, kind):
    model, (ids, mask) = model_of(kind), padded()
    found = generated(model, ids, mask, num_beams=3)
    assert torch.equal(found, generated(model, ids, mask, num_beams=3, use_cache=False))


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_in_pieces_gives_the_logits_of_the_whole(model_of, kind):
    model, (ids, _) = model_of(kind), padded()
    whole = model(input_ids=ids).logits
    cache = DynamicCache(config=model.config)
    pieces = [model(input_ids=part, past_key_values=cache).logits for part in ids.split(5, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cropped_cache_goes_on_from_where_it_was_cut(model_of, kind):
    model, (ids, _) = model_of(kind), padded()
    cache = DynamicCache(config=model.config)
    expected = model(input_ids=ids[:, :8], past_key_values=cache).logits[:, -1]
    cache.crop(-1)
    found = model(input_ids=ids[:, 7:8], past_key_values=cache).logits[:, -1]
    torch.testing.assert_close(found, expected)


def numbers_a_token(cache):
    return [layer.keys[0, :, 0].numel() + layer.values[0, :, 0].numel() for layer in cache.layers]


@pytest.mark.parametrize(("kind", "numbers"), [("helm_d", 2 * 6 * 64), ("helm_mice", 65 + 16 + 12)])
def test_the_cache_of_the_published_widths(kind, numbers):
    """Expanded keys and values of HELM-MiCE's 6 heads would be 486 numbers; here it is 93."""
    config = model_config(kind, "120m", 31, aligned=False, num_hidden_layers=2)
    cache = DynamicCache(config=config)
    HelmForCausalLM(config).eval()(input_ids=torch.ones(2, 3).long(), past_key_values=cache)
    assert numbers_a_token(cache) == [numbers] * 2 and cache.get_seq_length() == 3


def test_the_cache_of_the_large_model_with_experts():
    config = model_config("helm_mice", "1b", 31, aligned=False, num_hidden_layers=1)
    cache = DynamicCache(config=config)
    HelmForCausalLM(config).eval()(input_ids=torch.ones(1, 2).long(), past_key_values=cache)
    assert numbers_a_token(cache) == [257 + 64 + 28]


def test_a_cached_token_costs_products_with_its_latent_alone():
    """Floating-point operations that one more token in the cache adds to a decoding step."""
    from torch.utils.flop_counter import FlopCounterMode

    added = {}
    for heads in (2, 8):
        config = model_config(
            "helm_mice", "tiny", 31, num_hidden_layers=1, num_attention_heads=heads
        )
        model, counts = HelmForCausalLM(config).eval(), []
        for length in (10, 30):
            cache = DynamicCache(config=config)
            with torch.no_grad():
                model(input_ids=torch.ones(1, length).long(), past_key_values=cache)
                with FlopCounterMode(display=False) as counter:
                    model(input_ids=torch.ones(1, 1).long(), past_key_values=cache)
            counts.append(counter.get_total_flops())
        added[heads] = (counts[1] - counts[0]) / 20
    rank, turned, made = (
        32,
        16,
        15 + 31,
    )  # of a latent, a rotated key, and an expanded key and value
    for heads, flops in added.items():
        assert flops == 2 * heads * (rank + turned) + 2 * heads * rank
        assert flops < 2 * heads * rank * made / 8


def test_an_adapter_around_the_latents_expansion_is_not_passed_over(model_of, tmp_path):
    """A cached token is scored by its latent with the layer's weights, which are not all then."""
    model_of("helm_mice").save_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    config = LoraConfig(r=4, target_modules=["kv_b_proj", "q_proj"], init_lora_weights=False)
    model = get_peft_model(base, config).double().eval()
    ids, mask = padded()
    found = generated(model, ids, mask)
    assert torch.equal(found, generated(model, ids, mask, use_cache=False))
    merged = model.merge_and_unload()
    assert type(merged.model.layers[0].self_attn.kv_b_proj) is torch.nn.Linear
    assert torch.equal(found, generated(merged, ids, mask))
