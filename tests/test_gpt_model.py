"""The model against transformers, torch's math and counting: logits, starting loss, padding, caches, attention."""

import math

import pytest
import torch
import torch.nn.functional as F

from gpt.config import ModelConfig
from gpt.layers import SHORT, causal_attention, rotary_tables
from gpt.model import GPT, Cache, parameter_count
from tests.gpt_toys import VOCAB, tiny_model


def random_model(config: ModelConfig) -> GPT:
    """A model whose every weight matters, norm gains and biases included."""
    model = GPT(config).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.ndim == 1))
    return model


def as_gpt2(model: GPT) -> torch.nn.Module:
    """Our weights in transformers' GPT-2: linear weights transposed, missing biases as zeros, padding rows cut."""
    from transformers import GPT2Config, GPT2LMHeadModel  # takes seconds, in every process that collects tests

    config = model.config
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context,
            n_embd=config.width,
            n_layer=config.layers,
            n_head=config.heads,
            n_inner=config.feed_forward,
            activation_function="gelu_new",
        )
    ).eval()
    ours = model.state_dict()
    names = {"attention_norm": "ln_1", "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj"}
    names |= {"feed_forward_norm": "ln_2", "feed_forward.up": "mlp.c_fc", "feed_forward.down": "mlp.c_proj"}
    weights = {"transformer.wte.weight": ours["embedding.weight"][: config.vocab_size]}
    weights["lm_head.weight"] = weights["transformer.wte.weight"]
    weights["transformer.wpe.weight"] = ours["positions.weight"]
    pairs = [("final_norm", "transformer.ln_f")]
    pairs += [(f"blocks.{i}.{a}", f"transformer.h.{i}.{b}") for i in range(config.layers) for a, b in names.items()]
    for our_name, their_name in pairs:
        weight = ours[f"{our_name}.weight"]
        weights[f"{their_name}.weight"] = weight.T if weight.ndim == 2 else weight
        weights[f"{their_name}.bias"] = ours.get(f"{our_name}.bias", torch.zeros(len(weight)))
    assert not theirs.load_state_dict(weights, strict=False).unexpected_keys
    return theirs


def as_qwen3(model: GPT) -> torch.nn.Module:
    """Our weights in transformers' Qwen3: fused matrices split, the norm after an untied embedding folded into it."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = model.config
    theirs = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            head_dim=config.width // config.heads,
            max_position_embeddings=config.context,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=config.tied,
            attention_bias=False,
        )
    ).eval()
    ours = model.state_dict()
    table = ours["embedding.weight"][: config.vocab_size]
    head = table if config.tied else ours["head.weight"][: config.vocab_size]
    if not config.tied:
        table = table / (table.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    weights = {
        "model.embed_tokens.weight": table,
        "lm_head.weight": head,
        "model.norm.weight": ours["final_norm.weight"],
    }
    for i in range(config.layers):
        ours_at, theirs_at = f"blocks.{i}.", f"model.layers.{i}."
        query, key, value = ours[ours_at + "attention.qkv.weight"].chunk(3)
        gate, up = ours[ours_at + "feed_forward.gate_up.weight"].chunk(2)
        query_gain, key_gain = ours[ours_at + "attention.qk_gain"]
        split = {"self_attn.q_proj": query, "self_attn.k_proj": key, "self_attn.v_proj": value}
        split |= {"self_attn.q_norm": query_gain, "self_attn.k_norm": key_gain}
        split |= {"self_attn.o_proj": ours[ours_at + "attention.out.weight"], "mlp.gate_proj": gate, "mlp.up_proj": up}
        split |= {"mlp.down_proj": ours[ours_at + "feed_forward.down.weight"]}
        split |= {"input_layernorm": ours[ours_at + "attention_norm.weight"]}
        split |= {"post_attention_layernorm": ours[ours_at + "feed_forward_norm.weight"]}
        weights |= {f"{theirs_at}{name}.weight": weight for name, weight in split.items()}
    result = theirs.load_state_dict(weights, strict=False)
    assert not result.unexpected_keys and not result.missing_keys
    return theirs


VARIANTS = {
    "gpt2": tiny_model("gpt2"),
    "gpt2 with biases": tiny_model("gpt2", bias=True),
    "modern untied": tiny_model("modern", tied=False),
    "modern tied": tiny_model("modern", tied=True),
    "modern, long and wide": tiny_model("modern", tied=False, context=200, heads=4, width=64, rope_theta=1e5),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_transformers(name):
    model = random_model(VARIANTS[name])
    theirs = (as_gpt2 if name.startswith("gpt2") else as_qwen3)(model)
    ids = torch.randint(0, VOCAB, (3, model.config.context), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = theirs(ids).logits, model(ids)[..., :VOCAB]
    assert (expected - found).abs().max() < 1e-4
    assert expected.std() > 0.1  # the comparison is about something


@pytest.mark.parametrize("name", VARIANTS)
def test_training_starts_at_the_loss_of_a_guess(name):
    model = GPT(VARIANTS[name]).initialise(3)
    ids = torch.randint(0, VOCAB, (8, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        loss = model.loss_sum(ids[:, :-1], ids[:, 1:]) / ids[:, 1:].numel()
    padded = model.config.padded_vocab  # at first the padding rows are as likely as any
    assert float(loss) == pytest.approx(math.log(padded), abs=0.12)


def test_the_starting_weights_follow_the_recipe():
    model = GPT(tiny_model("modern", tied=False, width=128, heads=4, vocab_size=2000)).initialise(1)
    weights = dict(model.named_parameters())
    bound = math.sqrt(3 / 128)
    assert weights["embedding.weight"].std().item() == pytest.approx(0.8, rel=0.02)
    assert weights["head.weight"].std().item() == pytest.approx(0.001, rel=0.02)
    for block in ("blocks.0.", "blocks.1."):
        qkv, gate_up = weights[block + "attention.qkv.weight"], weights[block + "feed_forward.gate_up.weight"]
        assert 0.97 * bound < qkv.abs().max().item() <= bound
        assert 0.97 * 0.4 * bound < gate_up.abs().max().item() <= 0.4 * bound
        assert not weights[block + "attention.out.weight"].any()
        assert not weights[block + "feed_forward.down.weight"].any()
        assert (weights[block + "attention.qk_gain"] == 1.2).all()
    classic = GPT(tiny_model("gpt2", width=128, heads=4, bias=True, vocab_size=2000)).initialise(1)
    weights = dict(classic.named_parameters())
    assert weights["embedding.weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert weights["blocks.1.feed_forward.down.weight"].std().item() == pytest.approx(0.01, rel=0.02)  # 0.02 / sqrt(4)
    assert not weights["blocks.1.feed_forward.down.bias"].any()
    again = GPT(classic.config).initialise(1)
    assert all(torch.equal(a, b) for a, b in zip(classic.parameters(), again.parameters(), strict=True))


def test_parameters_are_counted_without_padding():
    model = GPT(tiny_model("modern", tied=False))  # 2 layers x 32, 2 heads, 128 hidden, 50 ids
    block = 4 * 32 * 32 + 3 * 32 * 128 + 2 * 32 + 2 * 16
    assert parameter_count(model) == 2 * 50 * 32 + 2 * block + 32
    assert model.embedding.weight.shape == (64, 32)
    classic = GPT(tiny_model("gpt2"))
    assert parameter_count(classic) == (50 + 16) * 32 + 2 * (4 * 32 * 32 + 8 * 32 * 32 + 2 * 32) + 32


@pytest.mark.parametrize("name", VARIANTS)
def test_a_cached_step_is_the_uncached_forward(name):
    config = VARIANTS[name]
    model = random_model(config)
    ids = torch.randint(0, VOCAB, (2, 16), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model.hidden(ids)
        cache = Cache(config, 2, torch.device("cpu"))
        positions = torch.arange(16).expand(2, 16)
        parts = [model.step(ids[:, :5], positions[:, :5], 5, cache)]
        parts += [model.step(ids[:, i : i + 1], positions[:, i : i + 1], i + 1, cache) for i in range(5, 16)]
    assert (torch.cat(parts, 1) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("length", [1, 7, SHORT, SHORT + 1, 300])
def test_attention_is_the_formula_forward_and_backward(length):
    shape = (2, 3, length, 8)
    query, key, value, weight = (torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(4))
    results = []
    for dtype, attention in ((torch.float32, causal_attention), (torch.float64, slow_attention)):
        inputs = [t.detach().to(dtype).clone().requires_grad_() for t in (query, key, value)]
        out = attention(*inputs)
        (out * weight.to(dtype)).sum().backward()
        results.append([out.detach(), *(t.grad for t in inputs)])
    for found, expected in zip(*results, strict=True):
        assert (found - expected).abs().max() < 1e-4


def slow_attention(query, key, value):
    """Token by token: softmax over itself and the past."""
    rows = []
    for i in range(query.shape[-2]):
        scores = (query[..., i : i + 1, :] * key[..., : i + 1, :]).sum(-1) / math.sqrt(query.shape[-1])
        rows.append((scores.softmax(-1)[..., None] * value[..., : i + 1, :]).sum(-2))
    return torch.stack(rows, -2)


def test_rotary_tables_are_exact_at_large_positions():
    cosines, sines = rotary_tables(4096, 8, 1e4)
    assert cosines.dtype == torch.float32
    for position, pair in ((0, 0), (1, 3), (4095, 0), (4095, 2)):
        angle = position * 1e4 ** (-2 * pair / 8)
        assert cosines[position, pair].item() == pytest.approx(math.cos(angle), abs=3e-4)
        assert sines[position, pair + 4].item() == pytest.approx(math.sin(angle), abs=3e-4)


def test_the_loss_is_the_sum_over_targets():
    model = random_model(VARIANTS["modern untied"])
    ids = torch.randint(0, VOCAB, (2, 9), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        probabilities = F.softmax(model(ids[:, :-1]).double(), -1)
        expected = sum(-math.log(probabilities[r, i, ids[r, i + 1]]) for r in range(2) for i in range(8))
        assert model.loss_sum(ids[:, :-1], ids[:, 1:]).item() == pytest.approx(expected, rel=1e-5)
