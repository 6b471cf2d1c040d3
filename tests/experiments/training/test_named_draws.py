import pytest
import torch
from torch import nn
from user_module import UserModule

from experiments.training.named_draws import NamedDraws
from experiments.training.seeding import derive_seed


def values(make, seed=0):
    return {name: value.detach().clone() for name, value in NamedDraws(seed).build(make).named_parameters()}


def test_streams_differ_by_seed_and_name_and_are_pinned():
    seeds = {derive_seed(seed, stream, epoch) for seed in (0, 1) for stream in ("order", "dropout") for epoch in (0, 1)}
    assert len(seeds) == 8
    assert derive_seed(3, "order", 1) == 6076325


def test_a_module_does_not_depend_on_the_global_generator():
    torch.manual_seed(1)
    one = values(UserModule)
    torch.manual_seed(2)
    torch.rand(5)
    other = values(UserModule)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_seed_gives_other_values():
    one, other = values(UserModule, 0), values(UserModule, 1)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_adding_a_layer_leaves_every_other_initial_value_unchanged():
    without, with_extra = values(UserModule), values(lambda: UserModule(extra=True))
    assert with_extra.keys() - without.keys() == {"middle.weight", "middle.bias"}
    assert all(torch.equal(without[name], with_extra[name]) for name in without)


def test_resizing_a_layer_leaves_unrelated_ones_unchanged():
    class Two(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.first = nn.Linear(3, width)
            self.other = nn.Linear(2, 2)

    narrow, wide = values(lambda: Two(4)), values(lambda: Two(40))
    assert torch.equal(narrow["other.weight"], wide["other.weight"])
    assert torch.equal(narrow["other.bias"], wide["other.bias"])


def test_scaling_and_zeroing_of_draws_is_kept():
    class Special(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 3, padding_idx=0)
            self.scaled = nn.Parameter(torch.randn(1000) * 0.01)
            self.square = nn.Linear(4, 4)
            nn.init.orthogonal_(self.square.weight)
            nn.init.trunc_normal_(self.square.bias, std=0.1, a=-0.05, b=0.05)

    module = NamedDraws(0).build(Special)
    assert torch.equal(module.embedding.weight[0], torch.zeros(3))
    assert 0.009 < module.scaled.std() < 0.011
    assert torch.allclose(module.square.weight @ module.square.weight.T, torch.eye(4), atol=1e-5)
    assert module.square.bias.abs().max() <= 0.05


def test_equal_layers_get_different_values():
    class Twins(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(3, 3)
            self.two = nn.Linear(3, 3)

    found = values(Twins)
    assert not torch.equal(found["one.weight"], found["two.weight"])


def test_every_build_leaves_the_same_global_generator():
    NamedDraws(0).build(UserModule)
    after_small = torch.rand(3)
    NamedDraws(0).build(lambda: nn.Linear(100, 100))
    assert torch.equal(after_small, torch.rand(3))


def test_an_error_in_the_constructor_is_raised_unchanged():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        NamedDraws(0).build(Broken)
