"""Generation with a cache equals generation without, and the cache is as small as documented."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, DynamicCache

from bench.models.helm import HelmForCausalLM
from bench.models.helm.sizes import model_config

both = pytest.mark.parametrize("kind", ["helm_d", "helm_mice"])
PADDING = (0, 5, 8)


@pytest.fixture(scope="module")
def model_of():
    """A function that gives a random model whose next tokens vary."""
    made = {}

    def make(kind):
        if kind not in made:
            torch.manual_seed(0)
            config = model_config(kind, "tiny", 97, num_hidden_layers=2, initializer_range=4.0)
            model = HelmForCausalLM(config).double().eval()
            for parameter in model.parameters():  # time columns and temperatures matter, too
                if parameter.ndim == 1:
                    parameter.data += 0.05 * torch.randn_like(parameter)
            model.lm_head.weight.data *= 4
            model.generation_config.pad_token_id = 0
            made[kind] = model
        return made[kind]

    return make


@pytest.fixture
def prompts():
    """Token ids of three prompts, padded on the left, and their mask."""
    ids = torch.randint(1, 97, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(12) >= torch.tensor(PADDING).unsqueeze(1)
    return ids * mask, mask.long()


def generated(model, ids, mask, **options):
    found = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False, **options
    )
    return found[:, ids.shape[1] :]


@both
@pytest.mark.parametrize("beams", [1, 3])
def test_with_and_without_a_cache_batched_and_alone(model_of, prompts, kind, beams):
    model, (ids, mask) = model_of(kind), prompts
    batched = generated(model, ids, mask, num_beams=beams)
    uncached = generated(model, ids, mask, num_beams=beams, use_cache=False)
    assert torch.equal(batched, uncached) and len({tuple(row.tolist()) for row in batched}) == 3
    for row, padding in enumerate(PADDING if beams == 1 else ()):
        alone = generated(model, ids[row : row + 1, padding:], mask[row : row + 1, padding:])
        assert torch.equal(alone[0], batched[row])


@both
def test_a_text_in_pieces_gives_the_logits_of_the_whole(model_of, prompts, kind):
    model, (ids, _) = model_of(kind), prompts
    cache = DynamicCache(config=model.config)
    pieces = [model(input_ids=part, past_key_values=cache).logits for part in ids.split(5, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(input_ids=ids).logits)
    cache.crop(-1)
    again = model(input_ids=ids[:, -1:], past_key_values=cache).logits
    torch.testing.assert_close(again, pieces[-1][:, -1:])


@pytest.mark.parametrize(
    ("kind", "size", "numbers"),
    [
        ("helm_d", "120m", 2 * 6 * 64),
        ("helm_mice", "120m", 65 + 16 + 12),  # keys and values of its 6 heads would be 486
        ("helm_mice", "1b", 257 + 64 + 28),
    ],
)
def test_the_cache_of_the_published_widths(kind, size, numbers):
    config = model_config(kind, size, 31, aligned=False, num_hidden_layers=1)
    cache = DynamicCache(config=config)
    HelmForCausalLM(config).eval()(input_ids=torch.ones(2, 3).long(), past_key_values=cache)
    (layer,) = cache.layers
    per_token = layer.keys[0, :, 0].numel() + layer.values[0, :, 0].numel()
    assert per_token == numbers and cache.get_seq_length() == 3


@pytest.mark.parametrize("heads", [2, 8])
def test_a_cached_token_costs_products_with_its_latent_only(heads):
    """Floating-point operations that one more cached token adds to a decoding step."""
    config = model_config("helm_mice", "tiny", 31, num_hidden_layers=1, num_attention_heads=heads)
    model, counts = HelmForCausalLM(config).eval(), []
    for length in (10, 30):
        cache = DynamicCache(config=config)
        with torch.no_grad():
            model(input_ids=torch.ones(1, length).long(), past_key_values=cache)
            with FlopCounterMode(display=False) as counter:
                model(input_ids=torch.ones(1, 1).long(), past_key_values=cache)
        counts.append(counter.get_total_flops())
    rank, rotated, expanded = 32, 16, 15 + 31
    added = (counts[1] - counts[0]) / 20
    assert added == 2 * heads * (rank + rotated) + 2 * heads * rank
    assert added < 2 * heads * rank * expanded / 8


def test_an_adapter_on_the_expansion_of_latents_is_not_bypassed(model_of, prompts, tmp_path):
    """Cached tokens are scored by the layer's weights, which do not include the adapter."""
    model_of("helm_mice").save_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    config = LoraConfig(r=4, target_modules=["kv_b_proj", "q_proj"], init_lora_weights=False)
    model = get_peft_model(base, config).double().eval()
    found = generated(model, *prompts)
    assert torch.equal(found, generated(model, *prompts, use_cache=False))
    merged = model.merge_and_unload()
    assert type(merged.model.layers[0].self_attn.kv_b_proj) is torch.nn.Linear
    assert torch.equal(found, generated(merged, *prompts))
