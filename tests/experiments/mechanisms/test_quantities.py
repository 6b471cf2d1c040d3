import math

import numpy as np
import pytest
import torch

from experiments.mechanisms.quantities import (
    BOUNDS,
    MOST_SORTED,
    dead,
    moments,
    norm,
    quantiles,
    ratio,
    rms,
    saturated,
)


def test_root_mean_square_and_norm_are_of_each_trial():
    x = torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]]])
    assert rms(x).tolist() == pytest.approx([math.sqrt(12.5), math.sqrt(2)])
    assert norm(x).tolist() == [5.0, 2.0]


def test_gradients_that_vanish_are_not_0_because_their_squares_are():
    assert rms(torch.full((1, 4), 1e-30)).item() == pytest.approx(1e-30, rel=1e-6)


def test_what_is_not_finite_stays_so_in_its_own_trial():
    x = torch.tensor([[1.0, math.nan], [1.0, math.inf], [1.0, 1.0]])
    found = rms(x).tolist()
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, 1.0]
    assert math.isnan(moments(x)[0][0])
    assert moments(x)[1][2] == 0


def test_a_small_deviation_about_a_large_mean_is_found():
    mean, deviation = moments(torch.tensor([[100.0, 100.25, 100.0, 100.25]]))
    assert mean.item() == 100.125
    assert deviation.item() == 0.125


def test_quantiles_of_few_numbers_are_the_nearest_of_them():
    x = torch.tensor([[5.0, 1.0, 3.0, 2.0, 4.0]])
    assert quantiles(x)[:, 0].tolist() == [1.0, 3.0, 5.0]


def test_quantiles_of_many_numbers_are_those_of_a_sample_that_is_spread():
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(2, 256, 64, generator=draws) + torch.arange(64) / 16  # units differ
    found, exact = quantiles(x), np.quantile(x.flatten(1).numpy(), [0.05, 0.5, 0.95], axis=1)
    assert found.shape == (3, 2)
    assert np.abs(found.numpy() - exact).max() < 0.15
    assert torch.equal(found, quantiles(x))
    assert x[0].numel() > MOST_SORTED


def test_saturated_is_the_share_within_5_percent_of_the_range_from_a_bound():
    assert saturated(torch.tensor([[0.04, 0.06, 0.94, 0.96]]), BOUNDS["sigmoid"]).item() == 0.5
    assert saturated(torch.tensor([[-0.92, -0.88, 0.0, 0.92]]), BOUNDS["tanh"]).item() == 0.5
    assert saturated(torch.tensor([[0.92, 0.92]]), BOUNDS["sigmoid"]).item() == 0


def test_dead_is_the_share_of_units_that_are_0_on_every_example():
    x = torch.tensor([[[0.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 0.0]], [[1.0] * 4, [0.0] * 4]])
    assert dead(x, unit_dim=2).tolist() == [0.5, 0.0]


def test_a_filter_is_dead_when_it_is_0_everywhere_in_every_image():
    x = torch.zeros(1, 2, 3, 4, 4)  # two images, three filters
    x[0, 1, 2, 3, 3] = 0.1
    assert dead(x, unit_dim=2).item() == pytest.approx(2 / 3)


def test_a_ratio_of_nothing_to_nothing_is_no_number():
    assert ratio(torch.tensor([1.0]), torch.tensor([0.0])).item() == math.inf
    assert math.isnan(ratio(torch.tensor([0.0]), torch.tensor([0.0])).item())
