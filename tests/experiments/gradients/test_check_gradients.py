"""Gradient checks of right and wrong modules, and of modules that are refused."""

import gradient_modules as modules
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from experiments import InputError, check_gradients
from experiments.gradients.central_differences import Slope
from lit_models import MLP, ConvNet, NumericalGradientMLP, Recurrent


def batch(num_examples=12):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_examples, 4, generator=generator), torch.randn(num_examples, generator=generator)


def verdicts(check):
    return {each.name: each.verdict for each in check.parameters}


def differing(check):
    return [each.name for each in check.parameters if each.verdict == "differs"]


@pytest.mark.parametrize("kind", [modules.Regression, modules.Dropped])
def test_right_gradients_agree(kind):
    check = check_gradients(kind(), batch())
    assert check.agrees
    assert all(verdict == "agrees" for name, verdict in verdicts(check).items() if kind is modules.Regression)
    assert max(each.direction_error for each in check.parameters if each.name != "first.bias") < 1e-6


def test_the_gradient_equals_an_analytic_one():
    """The gradient of the output's bias is twice the mean residual."""
    module = modules.Regression()
    x, y = batch()
    check = check_gradients(module, (x, y), tolerance=1e-8)  # so that `worst` is set for every entry
    bias = next(each for each in check.parameters if each.name == "second.bias")
    residual = (module.second(module.hidden(x)).squeeze(1) - y).mean().item()
    assert bias.num_checked == 1
    if bias.worst is not None:
        assert bias.worst.autograd_gradient == pytest.approx(2 * residual, rel=1e-5)


def test_parameters_of_a_wrong_backward_differ():
    check = check_gradients(modules.WrongBackward(), batch())
    assert not check.agrees
    assert verdicts(check) == {
        "first.weight": "differs",
        "first.bias": "differs",
        "second.weight": "agrees",
        "second.bias": "agrees",
    }
    weight = check.parameters[0]
    assert weight.error == pytest.approx(2 / 3, rel=1e-4)  # a third of what it should be
    assert weight.worst.numerical_gradient == pytest.approx(3 * weight.worst.autograd_gradient, rel=1e-4)


def test_the_random_direction_finds_one_wrong_unit():
    module = modules.WrongInOneUnit()
    names = {}
    for seed in range(20):
        check = check_gradients(module, batch(), num_entries=1, seed=seed)
        assert differing(check) == ["first.weight", "first.bias"]
        worst = check.parameters[0].worst
        names[seed] = None if worst is None or worst.index is None else worst.index[0]
    assert set(names.values()) == {None, 3}


def test_torchs_gradcheck_agrees():
    for function, is_right in ((modules.WrongCube.apply, False), (lambda x: x**3, True)):
        x = torch.randn(4, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
        assert torch.autograd.gradcheck(function, x, raise_exception=False) is is_right


def test_a_missing_gradient_differs():
    check = check_gradients(modules.Detached(), batch())
    assert differing(check) == ["first.weight", "first.bias"]
    assert check.parameters[0].worst.autograd_gradient == 0


def test_an_overridden_backward_is_checked():
    assert len(differing(check_gradients(modules.OwnBackward(), batch()))) == 4


def test_hooks_of_parameters_are_checked():
    module = modules.Regression()
    module.first.weight.register_hook(lambda gradient: -gradient)
    assert differing(check_gradients(module, batch())) == ["first.weight"]


@pytest.mark.parametrize("kind", [modules.Rectified, modules.NearKink])
def test_a_kink_is_not_a_wrong_gradient(kind):
    check = check_gradients(kind(), batch())
    assert check.agrees
    bias = next(each for each in check.parameters if each.name == "first.bias")
    assert (bias.num_checked, bias.num_kinks, bias.verdict) == (5, 1, "agrees")


def test_a_gradient_outside_both_sides_of_a_kink_differs():
    assert "first.bias" in differing(check_gradients(modules.WrongAtKink(), batch()))


def test_gradients_below_rounding_are_too_small_to_tell():
    check = check_gradients(modules.Saturated(), batch())
    assert check.agrees
    assert verdicts(check) == {
        "first.weight": "too small to tell",
        "first.bias": "too small to tell",
        "second.weight": "agrees",
        "second.bias": "agrees",
    }


SLOPES = [
    (lambda t: t**2 + 3 * t, 3.0, "equal"),
    (lambda t: t**2 + 3 * t, 2.9, "wrong"),
    (abs, 0.0, "equal"),  # halfway between the sides
    (abs, 0.5, "kink"),
    (abs, 1.0, "kink"),
    (abs, 1.5, "wrong"),
    (lambda t: max(t - 3e-6, 0), 0.0, "kink"),
    (lambda t: max(t - 3e-6, 0), 1.0, "wrong"),
    (lambda t: max(t + 3e-6, 0), 1.0, "kink"),
    (lambda t: 1.0, 0.0, "equal"),
    (lambda t: 1 + 1e-9 * t, 1e-9, "small"),
    (lambda t: 1e6 * t**2 + t, 1.0, "equal"),
    (lambda t: 1e6 * t**2 + t, 1.1, "wrong"),
    (lambda t: float(np.float32(1 + t)), 1.0, "discontinuous"),
    (lambda t: float(np.float32(1 + t)), 2.0, "discontinuous"),
    (lambda t: 1 + t + 0.1 * max(t - 3e-9, 0), 2.0, "wrong"),  # a kink nearby is no staircase
]


@pytest.mark.parametrize(("phi", "backward", "outcome"), SLOPES)
def test_rounding_kinks_and_errors_are_distinguished(phi, backward, outcome):
    assert Slope(phi, phi(0.0), 1e-4).compare(backward).outcome == outcome


def test_shipped_networks_agree():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, 1, 8, 8, generator=generator), torch.arange(6) % 3
    tokens = torch.randint(2, 20, (6, 7), generator=generator), torch.arange(6) % 3
    sizes = {"num_classes": 3}
    for module, given in [
        (MLP([6, 5], dropout=0.3, batch_norm=True, input_shape=(1, 8, 8), **sizes), images),
        (ConvNet([2, 3], kernel_size=3, padding=1, input_shape=(1, 8, 8), **sizes), images),
        (Recurrent("gru", hidden_size=4, embedding_size=3, vocabulary_size=20, input_shape=(7,), **sizes), tokens),
    ]:
        check = check_gradients(module, given, num_entries=5)
        assert check.agrees, (type(module).__name__, differing(check))


@pytest.mark.parametrize("gradient", ["backprop", "forward_differences", "central_differences"])
def test_gradients_by_differences_are_checked(gradient):
    module = NumericalGradientMLP([2], gradient=gradient, activation="tanh", input_shape=(3,), num_classes=2)
    check = check_gradients(module, (torch.randn(5, 3), torch.arange(5) % 2), num_entries=2)
    assert check.agrees


def test_the_check_has_no_side_effects():
    module, given = modules.Dropped(), batch()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    check_gradients(module, given)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None and parameter.dtype == torch.float32 for parameter in module.parameters())
    assert "log" not in vars(module)
    assert given[0].dtype == torch.float32


def test_the_check_runs_on_a_module_with_a_trainer():
    module = modules.Regression()
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert check_gradients(module, batch()).agrees


def test_equal_seeds_check_equal_entries():
    one, other = (check_gradients(modules.WrongBackward(), batch(), num_entries=3, seed=4) for _ in range(2))
    assert [each.worst for each in one.parameters] == [each.worst for each in other.parameters]
    assert one.num_evaluations == other.num_evaluations


def test_frozen_parameters_are_not_checked():
    module = modules.Regression()
    module.first.requires_grad_(False)
    assert [each.name for each in check_gradients(module, batch()).parameters] == ["second.weight", "second.bias"]


REFUSED = [
    (
        modules.ByHand,
        (
            "ByHand uses manual optimization (automatic_optimization = False), so there is no single loss whose "
            "gradient could be compared; compare a subclass whose training_step returns the loss"
        ),
    ),
    (
        modules.ReturnsNone,
        (
            "ReturnsNone: training_step returns no loss for the first batch; a loss of one number, or a dictionary "
            "with it as `loss`, is needed"
        ),
    ),
    (
        modules.ReturnsMany,
        (
            "ReturnsMany: training_step returns a loss of 12 numbers for the first batch; a loss of one number, or a "
            "dictionary with it as `loss`, is needed"
        ),
    ),
    (modules.NotFinite, "NotFinite: the loss of the batch is "),
    (modules.Counts, "Counts: training_step gives "),
    (
        modules.SingleOnly,
        "SingleOnly: training_step raises RuntimeError: mat1 and mat2 ",
    ),
    (
        modules.AsksTheTrainer,
        "AsksTheTrainer: it reads self.trainer.num_devices in training_step, and this check has no Trainer",
    ),
    (modules.Constant, "Constant: the loss does not depend on any parameter that is trained"),
]


@pytest.mark.parametrize(("kind", "message"), REFUSED, ids=[kind.__name__ for kind, _ in REFUSED])
def test_modules_without_a_gradient_are_refused(kind, message):
    with pytest.raises(InputError) as error:
        check_gradients(kind(), batch())
    assert str(error.value).startswith(message)


def test_complex_parameters_are_refused():
    module = modules.Regression()
    module.phase = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(InputError, match="Regression: phase: only real parameters are supported; freeze these"):
        check_gradients(module, batch())


def test_arguments_out_of_range_are_refused():
    with pytest.raises(InputError, match="num_entries is 0: at least 1 is needed"):
        check_gradients(modules.Regression(), batch(), num_entries=0)
    with pytest.raises(InputError, match="tolerance is 2: a number from 1e-08, "):
        check_gradients(modules.Regression(), batch(), tolerance=2)


def test_a_module_without_parameters_is_refused():
    module = modules.Regression()
    module.first = module.second = nn.Identity()
    with pytest.raises(InputError, match="Regression has no trainable parameters"):
        check_gradients(module, batch())


@pytest.mark.parametrize("kind", [modules.InSingle, modules.SingleLoss])
def test_single_precision_in_the_code_is_refused(kind):
    message = rf"^{kind.__name__}: the loss is not computed in double precision, .*: float returns torch\.float32; "
    with pytest.raises(InputError, match=message):
        check_gradients(kind(), batch())


@pytest.mark.parametrize("kind", [modules.SingleFunction, modules.SingleBuffer, modules.SingleInNumPy])
@pytest.mark.parametrize("seed", range(3))
def test_hidden_single_precision_is_found_by_discontinuities(kind, seed):
    message = (
        rf"^{kind.__name__}: the loss is piecewise constant near the current \S+ \(probed at distance 1e-08\), "
        r".* single precision \(x\.float"
    )
    with pytest.raises(InputError, match=message):
        check_gradients(kind(), batch(), seed=seed)


@pytest.mark.parametrize("kind", [modules.SingleTargets, modules.LogsSingle])
def test_single_precision_outside_the_gradient_is_accepted(kind):
    assert check_gradients(kind(), batch()).agrees


def test_later_hooks_are_listed_and_not_checked():
    check = check_gradients(modules.ClipsItself(), batch())
    assert check.agrees
    assert check.later_hooks == ("on_after_backward",)
    assert check_gradients(modules.Regression(), batch()).later_hooks == ()


@pytest.mark.parametrize("tolerance", [0, -1e-3, 1e-14, 1, float("nan"), float("inf")])
def test_a_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(
        InputError, match=f"^tolerance is {tolerance:g}: a number from 1e-08, the precision of finite diff"
    ):
        check_gradients(modules.Regression(), batch(), tolerance=tolerance)


def test_a_module_that_cannot_be_copied_is_refused():
    module = modules.Regression()
    module.numbers = (number for number in range(3))
    with pytest.raises(
        InputError, match="Regression cannot be copied, and the check runs on a copy: TypeError: cannot "
    ):
        check_gradients(module, batch())
