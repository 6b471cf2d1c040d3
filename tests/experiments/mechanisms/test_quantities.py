import math

import numpy as np
import pytest
import torch

from experiments.mechanisms.measure import compute_update_ratios
from experiments.mechanisms.quantities import (
    BOUNDS,
    MAX_SORTED,
    dead,
    moments,
    norm,
    quantiles,
    rms,
    saturated,
)


def test_rms_and_norm_are_computed_for_each_trial():
    x = torch.tensor([[[3.0, 4.0]], [[0.0, 2.0]]])
    assert rms(x).tolist() == pytest.approx([math.sqrt(12.5), math.sqrt(2)])
    assert norm(x).tolist() == [5.0, 2.0]


def test_vanishing_gradients_do_not_underflow():
    assert rms(torch.full((1, 4), 1e-30)).item() == pytest.approx(1e-30, rel=1e-6)


def test_values_that_are_not_finite_stay_in_their_trial():
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


def test_quantiles_of_few_numbers_are_nearest_ranks():
    x = torch.tensor([[5.0, 1.0, 3.0, 2.0, 4.0]])
    assert quantiles(x)[:, 0].tolist() == [1.0, 3.0, 5.0]


def test_quantiles_of_many_numbers_use_a_spread_sample():
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(2, 256, 64, generator=draws) + torch.arange(64) / 16  # units differ
    found, exact = quantiles(x), np.quantile(x.flatten(1).numpy(), [0.05, 0.5, 0.95], axis=1)
    assert found.shape == (3, 2)
    assert np.abs(found.numpy() - exact).max() < 0.15
    assert torch.equal(found, quantiles(x))
    assert x[0].numel() > MAX_SORTED


def test_saturation_counts_values_within_5_percent_of_a_bound():
    assert saturated(torch.tensor([[0.04, 0.06, 0.94, 0.96]]), BOUNDS["sigmoid"]).item() == 0.5
    assert saturated(torch.tensor([[-0.92, -0.88, 0.0, 0.92]]), BOUNDS["tanh"]).item() == 0.5
    assert saturated(torch.tensor([[0.92, 0.92]]), BOUNDS["sigmoid"]).item() == 0


def test_dead_units_are_0_on_every_example():
    x = torch.tensor([[[0.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 0.0]], [[1.0] * 4, [0.0] * 4]])
    assert dead(x, unit_dim=2).tolist() == [0.5, 0.0]


def test_a_dead_filter_is_0_at_every_position():
    x = torch.zeros(1, 2, 3, 4, 4)  # two images, three filters
    x[0, 1, 2, 3, 3] = 0.1
    assert dead(x, unit_dim=2).item() == pytest.approx(2 / 3)


def test_update_ratio_of_zero_weights_is_infinite_or_nan():
    before = {"changed": torch.zeros(1, 3), "unchanged": torch.zeros(1, 3)}
    ratios = compute_update_ratios(before, before | {"changed": torch.ones(1, 3)})
    assert ratios["changed"].item() == math.inf
    assert math.isnan(ratios["unchanged"].item())
