import pytest

from experiments.mechanisms.activation_drift import Drift


def quantiles(layer, *values):
    return {
        f"mechanism/activation_{name}/{layer}": value for name, value in zip(("q05", "q50", "q95"), values, strict=True)
    }


def test_drift_is_the_movement_of_quantiles_over_their_range():
    drift = Drift()
    first = quantiles("a", -1.0, 0.0, 3.0) | quantiles("flat", 2.0, 2.0, 2.0) | {"mechanism/dead/a": 0.5}
    assert drift.update(first) == {"mechanism/activation_drift/a": 0.0}
    second = quantiles("a", -0.5, 1.0, 3.0) | quantiles("flat", 2.0, 3.0, 4.0) | quantiles("late", 0.0, 1.0, 2.0)
    assert drift.update(second) == {
        "mechanism/activation_drift/a": pytest.approx((0.5 + 1.0 + 0.0) / 3 / 4),
        "mechanism/activation_drift/late": 0.0,
    }
    assert drift.update({"mechanism/weight_norm/a": 1.0}) == {}


def test_nan_quantiles_have_no_drift():
    nan = float("nan")
    assert Drift().update(quantiles("a", nan, nan, nan)) == {}
