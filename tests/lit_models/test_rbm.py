"""A restricted Boltzmann machine, compared with a calculation by hand and its exact likelihood."""

import itertools

import pytest
import torch

from datamodules import Digits
from lit_models import RBM, train_rbm
from lit_models.rbm import BATCH_SIZE, WEIGHT_COST, compute_visible_biases


def sigmoid(x):
    return 1 / (1 + torch.exp(-torch.tensor(x, dtype=torch.float64)).item())


def machine(num_visible, num_hidden, seed=0, std=1.0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: std * torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return RBM(weight=draw(num_hidden, num_visible), hidden_bias=draw(num_hidden), visible_bias=draw(num_visible))


def states(num_units):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=num_units)), dtype=torch.float64)


def log_likelihood(rbm, visible):
    """Return the exact mean log probability; the normaliser sums over all visible and hidden states."""
    v, h = states(len(rbm.visible_bias)), states(len(rbm.hidden_bias))
    energies = -(h @ rbm.weight @ v.T) - (h @ rbm.hidden_bias)[:, None] - (v @ rbm.visible_bias)[None]
    log_z = torch.logsumexp(-energies.flatten(), 0)
    of_visible = -(h @ rbm.weight @ visible.T) - (h @ rbm.hidden_bias)[:, None] - (visible @ rbm.visible_bias)[None]
    return (torch.logsumexp(-of_visible, 0) - log_z).mean()


def patterns(num_examples=400):
    """Four visible units: the first two agree in nine of ten examples, and so do the last two."""
    generator = torch.Generator().manual_seed(5)
    pairs = (torch.rand(num_examples, 2, generator=generator, dtype=torch.float64) < 0.5).double()
    flips = (torch.rand(num_examples, 4, generator=generator, dtype=torch.float64) < 0.05).double()
    return (pairs.repeat_interleave(2, 1) - flips).abs()


def test_one_update_of_cd1_equals_a_calculation_by_hand():
    """Three visible and two hidden units, one example; every number by the formulas of Hinton 2002."""
    w = [[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]]
    b, a, v = [0.05, -0.1], [0.2, 0.0, -0.3], [1.0, 0.0, 1.0]
    noise = [0.5, 0.9]
    p = [sigmoid(b[j] + sum(w[j][i] * v[i] for i in range(3))) for j in range(2)]  # 0.611, 0.426
    h = [1.0, 0.0]  # 0.5 < 0.611, and 0.9 is not below 0.426
    assert [float(n < q) for n, q in zip(noise, p, strict=True)] == h
    r = [sigmoid(a[i] + sum(w[j][i] * h[j] for j in range(2))) for i in range(3)]
    q = [sigmoid(b[j] + sum(w[j][i] * r[i] for i in range(3))) for j in range(2)]

    rbm = RBM(weight=torch.tensor(w), hidden_bias=torch.tensor(b), visible_bias=torch.tensor(a))
    gradient = rbm.contrastive_divergence(torch.tensor([v]), torch.tensor([noise]))
    expected = [[p[j] * v[i] - q[j] * r[i] for i in range(3)] for j in range(2)]
    torch.testing.assert_close(gradient.weight, torch.tensor(expected))
    torch.testing.assert_close(gradient.hidden_bias, torch.tensor([p[j] - q[j] for j in range(2)]))
    torch.testing.assert_close(gradient.visible_bias, torch.tensor([v[i] - r[i] for i in range(3)]))


def test_a_batch_has_the_mean_of_the_gradients_of_its_examples():
    rbm, visible = machine(4, 3), patterns(6)
    noise = torch.rand(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    whole = rbm.contrastive_divergence(visible, noise)
    parts = [rbm.contrastive_divergence(visible[at : at + 1], noise[at : at + 1]) for at in range(6)]
    for name in ("weight", "hidden_bias", "visible_bias"):
        torch.testing.assert_close(getattr(whole, name), torch.stack([getattr(part, name) for part in parts]).mean(0))


def test_momentum_and_weight_cost_are_those_of_the_recipe():
    """All examples are equal and hidden units certain, so noise has no effect and steps are reproducible."""
    rbm = machine(4, 3, std=0.0)
    rbm.hidden_bias.fill_(50.0)
    visible = torch.ones(BATCH_SIZE, 4, dtype=torch.float64)
    twin = machine(4, 3, std=0.0)
    twin.hidden_bias.fill_(50.0)
    velocity = torch.zeros_like(twin.weight), torch.zeros_like(twin.visible_bias)
    for epoch in range(7):
        momentum = 0.5 if epoch < 5 else 0.9
        left = 1 - torch.sigmoid(twin.visible_bias + twin.weight.sum(0))
        velocity = (
            momentum * velocity[0] + 0.1 * (left.expand(3, 4) - WEIGHT_COST * twin.weight),
            momentum * velocity[1] + 0.1 * left,
        )
        twin.weight.add_(velocity[0])
        twin.visible_bias.add_(velocity[1])
    train_rbm(rbm, visible, epochs=7, lr=0.1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rbm.weight, twin.weight)
    torch.testing.assert_close(rbm.visible_bias, twin.visible_bias)


def test_free_energy_sums_the_hidden_states_out():
    rbm, v = machine(4, 3), states(4)
    log_z = torch.logsumexp(-rbm.free_energy(v), 0)
    exact = torch.stack([log_likelihood(rbm, each[None]) for each in v])
    torch.testing.assert_close(-rbm.free_energy(v) - log_z, exact)
    assert exact.exp().sum().item() == pytest.approx(1.0)


def test_the_exact_log_likelihood_rises_with_training():
    """CD-1 is not the gradient of any function, so training ends near the maximum and not at it."""
    rbm, visible = machine(4, 3, std=0.01), patterns()
    found = [log_likelihood(rbm, visible).item()]
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        train_rbm(rbm, visible, epochs=30, lr=0.1, generator=generator)
        found.append(log_likelihood(rbm, visible).item())
    assert found == sorted(found)
    assert found[0] == pytest.approx(-4 * torch.tensor(2.0).log().item(), abs=0.01)  # each unit a coin of its own
    _, counts = visible.unique(dim=0, return_counts=True)
    best = ((counts / 400) * (counts / 400).log()).sum().item()  # of any distribution: the sample's own frequencies
    assert best - 0.1 < found[-1] < best


def test_contrastive_divergence_climbs_the_exact_likelihood():
    """Its mean over noise has a positive inner product with the exact gradient, from 20 different starts."""
    visible = patterns()
    for seed in range(20):
        rbm = machine(4, 3, seed=seed)
        leaves = [x.clone().requires_grad_() for x in (rbm.weight, rbm.hidden_bias, rbm.visible_bias)]
        exact = torch.autograd.grad(log_likelihood(RBM(**dict(zip(NAMES, leaves, strict=True))), visible), leaves)
        noise = torch.rand(len(visible), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        cd = rbm.contrastive_divergence(visible, noise)
        product = sum((own * getattr(cd, name)).sum() for name, own in zip(NAMES, exact, strict=True))
        norms = [sum(x.square().sum() for x in xs).sqrt() for xs in (exact, [getattr(cd, name) for name in NAMES])]
        assert product / (norms[0] * norms[1]) > 0.5, seed


NAMES = ("weight", "hidden_bias", "visible_bias")


def test_visible_biases_are_finite_for_pixels_that_never_change():
    biases = compute_visible_biases(torch.tensor([[0.0, 1.0, 0.5]] * 8))
    torch.testing.assert_close(biases, torch.tensor([1 / 9, 9.0, 1.0]).log())


def test_real_digits_are_reconstructed_ever_better():
    data = Digits(seed=0)
    data.setup()
    inputs = torch.cat([inputs for inputs, _ in data.pretraining_dataloader()]).flatten(1)
    visible = (inputs - inputs.amin()) / (inputs.amax() - inputs.amin())
    generator = torch.Generator().manual_seed(0)
    weight = 0.01 * torch.randn(50, 64, generator=generator)
    rbm = RBM(weight=weight, hidden_bias=torch.zeros(50), visible_bias=compute_visible_biases(visible))
    by_means_alone = (visible - visible.mean(0)).square().mean().item()
    errors = [rbm.reconstruction_error(visible)]
    for _ in range(3):
        train_rbm(rbm, visible, epochs=10, lr=0.1, generator=generator)
        errors.append(rbm.reconstruction_error(visible))
    assert errors[0] == pytest.approx(by_means_alone, rel=0.02)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]
