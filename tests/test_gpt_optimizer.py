"""One step of the optimizer: Muon and AdamW against torch's, groups, stacks, orthogonal matrices, weight decay."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpt.groups import group
from gpt.model import GPT
from gpt.muon import Muon
from gpt.optimizer import Optimizer
from gpt.orthogonal import EXPRESS, orthogonalise
from tests.gpt_toys import tiny_model, tiny_training

LOSS = torch.tensor(1.0)
JORDAN = ((3.4445, -4.7750, 2.0315),) * 5  # the steps of torch.optim.Muon


def with_gradients(seed: int, **changes) -> tuple[GPT, list[dict[str, Tensor]]]:
    model = GPT(tiny_model("modern", tied=False, **changes)).initialise(1)
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    return model, [{n: torch.randn(s, generator=generator) * 0.01 for n, s in shapes.items()} for _ in range(6)]


def set_gradients(model: nn.Module, gradients: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        parameter.grad = gradients[name].clone()


def separate(name: str, tensor: Tensor) -> list[Tensor]:
    """The matrices that the layers of Qwen3 keep apart: queries, keys and values; gate and up."""
    return list(tensor.chunk(3 if "qkv" in name else 2 if "gate_up" in name else 1))


def test_with_adamw_updates_are_those_of_torchs_adamw():
    model, gradients = with_gradients(1)
    reference = {name: p.detach().double().clone().requires_grad_() for name, p in model.named_parameters()}
    config = tiny_training(clip=0.5, optimizer="adamw")
    ours = Optimizer(model, config)
    betas = config.beta1, config.beta2
    theirs = torch.optim.AdamW(
        reference.values(), lr=1e-2, betas=betas, eps=config.epsilon, weight_decay=0.0, foreach=False
    )
    for step in gradients:
        set_gradients(model, step)
        for name, parameter in reference.items():
            parameter.grad = step[name].double()
        norm = torch.nn.utils.clip_grad_norm_(reference.values(), 0.5)
        assert norm > 0.5  # so that clipping is at work
        theirs.step()
        assert float(ours.step(LOSS, 1e-2, 0.0)) == pytest.approx(float(norm), rel=1e-5)
    for name, parameter in model.named_parameters():
        assert (parameter.double() - reference[name]).abs().max() < 1e-6, name


def test_with_muon_updates_are_those_of_torchs_muon_and_adamw(monkeypatch):
    """Torch keeps matrices apart, so this also shows that stacks and fused tensors are the same as one by one."""
    model, gradients = with_gradients(3, feed_forward=48)
    config = tiny_training(clip=0.5, learning_rate=0.02)
    ours = Optimizer(model, config)
    monkeypatch.setattr("gpt.muon.orthogonalise", lambda stack: orthogonalise(stack, JORDAN))
    monkeypatch.setattr("gpt.orthogonal.MARGIN", 1.0)
    # torch divides by the Frobenius norm, which these few steps feel, and computes in bfloat16: here as ours do
    monkeypatch.setattr(Tensor, "norm", lambda x: (x @ x.T).square().sum().sqrt().sqrt())
    monkeypatch.setattr(Tensor, "bfloat16", lambda x: x.clone())
    reference = {
        name: [part.detach().double().clone().requires_grad_() for part in separate(name, p)]
        for name, p in model.named_parameters()
    }
    flat = [part for parts in reference.values() for part in parts]

    def of(choose) -> list[Tensor]:
        return [part for name, parts in reference.items() if choose(name) for part in parts]

    blocks = of(
        lambda name: (
            name.startswith("blocks.") and name.endswith(("qkv.weight", "out.weight", "p.weight", "down.weight"))
        )
    )
    others = [part for part in flat if not any(part is block for block in blocks)]
    muon = torch.optim.Muon(blocks, lr=0.02, weight_decay=0.0, momentum=0.9)
    head, embedding = of(lambda name: name == "head.weight"), of(lambda name: name == "embedding.weight")
    rest = [part for part in others if part is not head[0] and part is not embedding[0]]
    assert (len(blocks), len(rest)) == (
        2 * 7,
        2 * 3 + 1,
    )  # q, k, v, out, gate, up, down; two norms and gains; last norm
    rates = [(embedding, config.embedding_rate), (head, config.head_rate), (rest, config.gain_rate)]
    groups = [{"params": members, "lr": rate} for members, rate in rates]
    adamw = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0, foreach=False)
    for step in gradients:
        set_gradients(model, step)
        for name, parts in reference.items():
            for part, gradient in zip(parts, separate(name, step[name]), strict=True):
                part.grad = gradient.double()
        with monkeypatch.context() as plain:
            plain.undo()
            norm = torch.nn.utils.clip_grad_norm_(flat, 0.5, foreach=False)
        assert norm > 0.5
        muon.step()
        adamw.step()
        ours.step(LOSS, 0.02, 0.0, momentum=0.9)
    for name, parameter in model.named_parameters():
        assert (parameter.double() - torch.cat(reference[name])).abs().max() < 2e-5, name


def test_each_parameter_is_in_one_group():
    for preset, optimizer in (("modern", "muon"), ("modern", "adamw"), ("gpt2", "adamw"), ("gpt2", "muon")):
        model = GPT(tiny_model(preset, **({"bias": True} if preset == "gpt2" else {"tied": False})))
        groups = group(model.named_parameters(), optimizer)
        held = [id(p) for members in vars(groups).values() for p in members.values()]
        assert sorted(held) == sorted(map(id, model.parameters()))
        matrices = {name for name, p in model.named_parameters() if "blocks" in name and name.endswith("weight")}
        matrices -= {name for name in matrices if "norm" in name}
        assert set(groups.muon if optimizer == "muon" else groups.matrices) == matrices and len(matrices) == 2 * 4
        assert not (groups.matrices if optimizer == "muon" else groups.muon)
        assert set(groups.embeddings) == {"embedding.weight"} | ({"positions.weight"} if preset == "gpt2" else set())
        assert set(groups.heads) == (set() if preset == "gpt2" else {"head.weight"})


@pytest.mark.parametrize("shape", [(32, 32), (96, 32), (32, 96), (40, 32), (1, 7)])
def test_orthogonal_matrices_are_those_of_the_singular_value_decomposition(shape):
    generator = torch.Generator().manual_seed(5)
    stack = torch.randn(3, *shape, generator=generator) * torch.tensor([1.0, 1e-4, 1e4])[:, None, None]
    left, values, right = torch.linalg.svd(stack.double(), full_matrices=False)
    found = orthogonalise(stack).double()
    measured = left.mT @ found @ right.mT  # diagonal, with the singular values after the steps
    outside = measured - torch.diag_embed(measured.diagonal(dim1=1, dim2=2))
    assert outside.abs().max() < 1e-4
    ends = measured.diagonal(dim1=1, dim2=2)
    top = values.pow(4).sum(1, keepdim=True).pow(0.25)
    assert (ends - 1).abs()[values > 0.011 * top].max() < 0.02
    assert ends.min() > 0 and ends.max() < 1.02
    coarse = orthogonalise(stack.bfloat16()).double()
    assert (coarse - found).norm() < 0.05 * found.norm()


def test_the_two_ways_of_multiplying_agree(monkeypatch):
    stack = torch.randn(2, 48, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    short = orthogonalise(stack)
    monkeypatch.setattr("gpt.orthogonal.LONG", 99)
    assert (short - orthogonalise(stack)).abs().max() < 1e-12
    assert not torch.equal(short, orthogonalise(stack))


def test_stacks_are_the_same_as_matrix_by_matrix():
    generator = torch.Generator().manual_seed(2)
    stack = torch.randn(5, 24, 16, generator=generator)
    together, alone = orthogonalise(stack), torch.cat([orthogonalise(matrix[None]) for matrix in stack])
    assert (together - alone).abs().max() < 1e-6
    assert orthogonalise(torch.zeros(2, 4, 4), EXPRESS).eq(0).all()


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_weight_decay_is_cautious_and_spares_gains(optimizer):
    decayed, gradients = with_gradients(2)
    plain, _ = with_gradients(2)
    config = tiny_training(optimizer=optimizer, learning_rate=1e-2)
    rate, decay = 1e-2, 0.5
    before = {name: p.detach().clone() for name, p in plain.named_parameters()}
    for model, amount in ((decayed, decay), (plain, 0.0)):
        step = Optimizer(model, config)
        set_gradients(model, gradients[0])
        step.step(LOSS, rate, amount)
    for name, parameter in plain.named_parameters():
        expected = parameter.detach().clone()
        is_matrix = name.endswith("weight") and parameter.ndim == 2
        if is_matrix and (optimizer == "adamw" or name.startswith("blocks.")):
            moved = before[name] - parameter
            grown = 2.0 if "gate_up" in name and optimizer == "muon" else 1.0  # sqrt(128 / 32)
            for place in np.ndindex(*expected.shape):
                # AdamW's momentum after one step has the gradient's sign, and decays what the step left
                weight = expected[place] if optimizer == "adamw" else before[name][place]
                pull = gradients[0][name][place] if optimizer == "adamw" else moved[place]
                if pull * weight > 0:
                    expected[place] -= rate * grown * decay * weight
            if "qkv" in name or "gate_up" in name:  # the others start near zero, where nothing can shrink
                assert not torch.equal(expected, parameter)
        assert (decayed.get_parameter(name) - expected).abs().max() < 1e-6, name


@pytest.mark.parametrize("preset", ["modern", "gpt2"])
def test_a_zero_gradient_stays_finite(preset):
    model = GPT(tiny_model(preset)).initialise(1)
    optimizer = Optimizer(model, tiny_training(preset))
    for _ in range(3):
        set_gradients(model, {name: torch.zeros_like(p) for name, p in model.named_parameters()})
        optimizer.step(torch.tensor(0.0), 1e-2, 0.1)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert int(optimizer.skipped) == 0


def test_the_state_of_muon_has_the_shapes_of_the_parameters():
    model, gradients = with_gradients(4)
    optimizer = Optimizer(model, tiny_training())
    set_gradients(model, gradients[0])
    optimizer.step(LOSS, 1e-2, 0.0, momentum=0.75)
    norm = torch.stack([g.norm() for g in gradients[0].values()]).norm()
    for name, tensor in optimizer.muon.tensors().items():
        gradient = gradients[0][name.removeprefix("momentum.")]
        assert (tensor - gradient * 0.25 / max(1.0, norm)).abs().max() < 1e-7


def test_a_model_without_blocks_needs_no_muon():
    assert Muon({}).tensors() == {}
    head = nn.ModuleDict({"embedding": nn.Embedding(4, 8), "head": nn.Linear(8, 4, bias=False)})
    optimizer = Optimizer(head, tiny_training())
    set_gradients(head, {name: torch.ones_like(p) for name, p in head.named_parameters()})
    before = head["head"].weight.detach().clone()
    optimizer.step(LOSS, 3e-3, 0.1)
    assert not torch.equal(before, head["head"].weight)
