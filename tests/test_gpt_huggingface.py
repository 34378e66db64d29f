"""Models in Hugging Face's form: what stock transformers makes of exported folders, and what we make of its GPT-2."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt.choices import score_endings
from gpt.errors import GPTError
from gpt.generate import stream
from gpt.huggingface import load_gpt2, write_pretrained
from gpt.model import GPT
from gpt.weights import load_model, read_starting_weights, save_model
from tests.choice_toys import made_up, questions
from tests.gpt_toys import EOT, VARIANTS, VOCAB, random_model


def exported(model: GPT, folder: Path, dtype: str = "float32") -> Path:
    folder.mkdir(exist_ok=True)
    write_pretrained(folder, model.config, model.state_dict(), EOT, dtype)
    return folder


def stock(folder: Path, **options) -> torch.nn.Module:
    """What unmodified transformers makes of a folder; it must find all it needs and nothing else."""
    from transformers import AutoModelForCausalLM  # takes seconds, in every process that collects tests

    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return model.eval()


def some_ids(model: GPT, rows: int = 3) -> torch.Tensor:
    return torch.randint(0, VOCAB, (rows, model.config.context), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", VARIANTS)
def test_exported_logits_are_ours(name, tmp_path):
    model = random_model(VARIANTS[name])
    theirs = stock(exported(model, tmp_path))
    ids = some_ids(model)
    with torch.no_grad():
        expected, found = theirs(ids).logits, model(ids)[..., :VOCAB]
    assert expected.shape == found.shape and expected.dtype == torch.float32
    assert (expected - found).abs().max() < 1e-4
    assert expected.std() > 0.1  # the comparison is about something
    assert type(theirs).__name__ == ("GPT2LMHeadModel" if name.startswith("gpt2") else "Qwen3ForCausalLM")


@pytest.mark.parametrize("name", ["gpt2", "modern untied", "bigram"])
def test_endings_of_benchmarks_are_scored_as_by_theirs_one_by_one(name, tmp_path):
    model = random_model(VARIANTS[name])
    theirs = stock(exported(model, tmp_path))
    asked = questions(made_up(8, longest=model.config.context // 2 - 1))  # items that fit
    found = score_endings(model, asked, torch.device("cpu"))
    assert found.std() > 1  # the comparison is about something
    with torch.no_grad():
        for passage, begin, nats in zip(asked.passages, asked.begins, found, strict=True):
            ids = torch.from_numpy(passage.astype("int64"))[None]
            losses = torch.nn.functional.cross_entropy(theirs(ids).logits[0, :-1], ids[0, 1:], reduction="none")
            assert nats == pytest.approx(float(losses[begin - 1 :].sum()), rel=1e-5)


@pytest.mark.parametrize("name", VARIANTS)
def test_greedy_text_is_the_same_with_and_without_their_cache_and_here(name, tmp_path):
    model = random_model(VARIANTS[name])
    theirs = stock(exported(model, tmp_path))
    greedy = {"do_sample": False, "top_k": None, "temperature": None, "max_new_tokens": 12}
    written = set()
    for prompt in ([EOT, 5, 6], [EOT, 9]):
        ours = list(stream(model, prompt, 12, temperature=0, eot_id=EOT))
        for cached in (True, False):
            drawn = theirs.generate(torch.tensor([prompt]), use_cache=cached, **greedy)[0, len(prompt) :].tolist()
            assert [token for token in drawn if token != EOT] == ours
        written.add(tuple(ours))
    assert len(written) == 2


def test_the_special_ids_and_the_draws_are_written(tmp_path):
    theirs = stock(exported(random_model(VARIANTS["modern tied"]), tmp_path))
    for config in (theirs.config, theirs.generation_config):
        assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (EOT, EOT, EOT)
    assert (theirs.generation_config.do_sample, theirs.generation_config.top_k) == (True, 50)
    assert theirs.config.max_position_embeddings == 16 and theirs.config.vocab_size == VOCAB
    assert theirs.config.rope_parameters["rope_theta"] == 1e4


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 2e-1), ("float16", 2e-2)])
def test_smaller_types_are_close_and_half_the_size(dtype, error, tmp_path):
    model = random_model(VARIANTS["modern untied"])
    whole, half = exported(model, tmp_path / "whole"), exported(model, tmp_path / "half", dtype)
    kind = getattr(torch, dtype)
    theirs = stock(half, dtype="auto")
    assert theirs.dtype == kind
    ids = some_ids(model)
    with torch.no_grad():
        assert (theirs.float()(ids).logits - model(ids)[..., :VOCAB]).abs().max() < error
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (half, whole)]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_weight_beyond_the_type_is_refused(tmp_path):
    model = random_model(VARIANTS["modern untied"])
    with torch.no_grad():
        model.head.weight[3, 4] = 1e5
    with pytest.raises(GPTError, match=r"lm_head\.weight holds 100000, which float16 cannot.*bfloat16"):
        exported(model, tmp_path, "float16")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, torch.nn.Module]:
    """A GPT-2 with random weights as transformers saves it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB, n_positions=24, n_embd=32, n_layer=2, n_head=4, eos_token_id=0, bos_token_id=0
    )
    model = GPT2LMHeadModel(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.ndim == 1))
    folder = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(folder)
    return folder, model


def changed(gpt2: tuple[Path, torch.nn.Module], folder: Path, change=dict, **config) -> Path:
    """A copy of the GPT-2 with its tensors and config changed."""
    shutil.copytree(gpt2[0], folder, dirs_exist_ok=True)
    tensors = change(load_file(folder / "model.safetensors"))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    described = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps({k: v for k, v in described.items() if v != "left out"}))
    return folder


def agrees(model: GPT, theirs: torch.nn.Module) -> bool:
    ids = some_ids(model)
    with torch.no_grad():
        expected, found = theirs(ids).logits, model(ids)[..., :VOCAB]
    assert expected.std() > 0.1
    return bool((expected - found).abs().max() < 1e-4)


def test_gpt2_is_read_with_its_logits(gpt2):
    folder, theirs = gpt2
    model = load_gpt2(folder)
    assert agrees(model, theirs)
    config = model.config
    assert (config.preset, config.bias, config.tied, config.context) == ("gpt2", True, True, 24)
    assert None not in vars(config).values()
    assert agrees(load_model(folder), theirs), "evaluate and sample take the folder, too"
    read, weights = read_starting_weights(folder)
    assert read == config and all(torch.equal(weights[n], t) for n, t in model.state_dict().items())
    assert not weights["embedding.weight"][VOCAB:].any() and len(weights["embedding.weight"]) == 64


def test_gpt2_is_read_in_every_form_that_it_is_stored_in(gpt2, tmp_path):
    theirs = gpt2[1]
    forms = {
        "bare": lambda tensors: {name.removeprefix("transformer."): t for name, t in tensors.items()},
        "masks": lambda tensors: (
            tensors
            | {
                "transformer.h.0.attn.bias": torch.ones(1, 1, 24, 24),
                "transformer.h.1.attn.masked_bias": torch.ones(()),
            }
        ),
        "head": lambda tensors: tensors | {"lm_head.weight": tensors["transformer.wte.weight"].clone()},
    }
    for name, form in forms.items():
        assert agrees(load_gpt2(changed(gpt2, tmp_path / name, form)), theirs), name
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert agrees(load_gpt2(tmp_path / "shards"), theirs)
    older = changed(gpt2, tmp_path / "older", n_inner="left out", tie_word_embeddings="left out", n_ctx=24)
    assert agrees(load_gpt2(older), theirs)
    half = changed(gpt2, tmp_path / "half", lambda tensors: {n: t.bfloat16() for n, t in tensors.items()})
    assert load_gpt2(half).embedding.weight.dtype == torch.float32


def without(name: str):
    return lambda tensors: {n: t for n, t in tensors.items() if name not in n}


@pytest.mark.parametrize(
    ("change", "config", "words"),
    [
        (dict, {"model_type": "llama"}, ["'llama'", "'gpt2'", "model.json"]),
        (dict, {"activation_function": "relu"}, ["activation_function is 'relu'", "'gelu_new'"]),
        (dict, {"scale_attn_by_inverse_layer_idx": True}, ["scale_attn_by_inverse_layer_idx is True"]),
        (dict, {"tie_word_embeddings": False}, ["tie_word_embeddings is False"]),
        (dict, {"n_layer": "two"}, ["n_layer is 'two'", "whole number"]),
        (dict, {"n_head": 5}, ["heads is 5", "width is 32"]),
        (dict, {"n_layer": 3}, ["missing h.2.ln_1.weight", "and 9 more"]),
        (dict, {"n_layer": 1}, ["unexpected h.1.", "and 9 more"]),
        (dict, {"n_positions": 12}, ["wpe.weight is 24 x 32", "12 x 32"]),
        (dict, {"vocab_size": 51}, ["wte.weight is 50 x 32", "51 x 32"]),
        (dict, {"n_inner": 64}, ["h.0.mlp.c_fc.weight is 32 x 128", "32 x 64"]),
        (without("h.1.mlp.c_fc.bias"), {}, ["missing h.1.mlp.c_fc.bias"]),
        (lambda t: t | {"extra": torch.ones(1)}, {}, ["unexpected extra"]),
        (lambda t: t | {"lm_head.weight": torch.ones(VOCAB, 32)}, {}, ["lm_head.weight differs"]),
        (lambda t: t | {"transformer.wpe.weight": torch.ones(24, 32, dtype=torch.int8)}, {}, ["wpe.weight holds int8"]),
    ],
)
def test_what_is_no_such_gpt2_is_refused(gpt2, tmp_path, change, config, words):
    folder = changed(gpt2, tmp_path, change, **config)
    with pytest.raises(GPTError) as refusal:
        read_starting_weights(folder)
    assert all(word in str(refusal.value) for word in [*words, str(folder)]), refusal.value
    assert "\n" not in str(refusal.value)


def test_folders_that_hold_no_model_are_refused(gpt2, tmp_path):
    def refusal(folder: Path) -> str:
        with pytest.raises(GPTError) as error:
            read_starting_weights(folder)
        return str(error.value)

    assert "is no folder" in refusal(tmp_path / "nothing")
    assert "holds neither model.json" in refusal(tmp_path)
    lonely = shutil.copytree(gpt2[0], tmp_path / "lonely")
    (lonely / "model.safetensors").unlink()
    assert "model.safetensors" in refusal(lonely)
    index = lonely / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"wte.weight": "../../secret.safetensors"}}))
    assert "'../../secret.safetensors'" in refusal(lonely)
    index.write_text(json.dumps({"weight_map": ["a"]}))
    assert "no weight_map" in refusal(lonely)
    save_file({"wte.weight": torch.ones(1)}, lonely / "one.safetensors")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(["wte.weight", "wpe.weight"], "one.safetensors")}))
    assert "lack wpe.weight" in refusal(lonely)


def test_our_own_folders_are_read_and_checked(tmp_path):
    model = random_model(VARIANTS["bigram of rank 12"])
    save_model(tmp_path, model.config, model.state_dict())
    config, weights = read_starting_weights(tmp_path)
    assert config == model.config
    ids = some_ids(model)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path)(ids)[..., :VOCAB], model(ids)[..., :VOCAB])
    save_model(tmp_path, model.config, weights | {"odd": torch.ones(2)})
    with pytest.raises(GPTError, match=r"does not fit model\.json: unexpected odd"):
        load_model(tmp_path)
    save_model(tmp_path, replace(model.config, width=None), weights)
    with pytest.raises(GPTError, match="leaves width open"):
        load_model(tmp_path)


def test_an_exported_gpt2_comes_back(tmp_path):
    model = random_model(VARIANTS["gpt2"])
    again = load_gpt2(exported(model, tmp_path))
    assert again.config == replace(model.config, bias=True)
    ids = some_ids(model)
    with torch.no_grad():
        assert torch.allclose(again(ids)[..., :VOCAB], model(ids)[..., :VOCAB], atol=1e-5)
