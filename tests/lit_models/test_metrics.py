import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from lit_models import accuracy, auroc, f1


def logits_of(scores):
    scores = torch.as_tensor(scores, dtype=torch.float64)
    return torch.stack([0.25 * scores, 1.25 * scores], dim=1)


def test_accuracy_counts_the_largest_logits():
    logits = torch.tensor([[0.0, 1.0, 0.5], [2.0, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
    measured = accuracy(logits, torch.tensor([1, 0, 0, 0]))
    assert measured == 0.75
    assert measured.dtype == torch.float64


# Few different scores, so that many are tied.
examples = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=1, max_size=40)


@given(examples)
def test_f1_is_that_of_scikit_learn(pairs):
    scores, target = (torch.tensor(values) for values in zip(*pairs, strict=True))
    expected = f1_score(target, scores > 0, zero_division=0)
    assert f1(logits_of(scores), target).item() == pytest.approx(expected, rel=1e-12)


@given(examples.filter(lambda pairs: len({target for _, target in pairs}) == 2))
def test_auroc_is_that_of_scikit_learn(pairs):
    scores, target = (torch.tensor(values) for values in zip(*pairs, strict=True))
    expected = roc_auc_score(target, scores)
    assert auroc(logits_of(scores), target).item() == pytest.approx(expected, rel=1e-12)


def test_auroc_of_many_examples_is_exact():
    draws = torch.Generator().manual_seed(0)
    target = torch.randint(0, 2, (20_000,), generator=draws)
    scores = (target + torch.randn(20_000, generator=draws)).round(decimals=2)
    assert auroc(logits_of(scores), target).item() == pytest.approx(roc_auc_score(target, scores), rel=1e-12)


def test_extremes():
    target = torch.tensor([0, 0, 1, 1])
    apart = logits_of([-2, -1, 1, 2])
    assert (f1(apart, target), auroc(apart, target)) == (1, 1)
    assert (f1(-apart, target), auroc(-apart, target)) == (0, 0)
    assert auroc(torch.zeros(4, 2), target) == 0.5
    assert auroc(1e4 * apart.float(), target) == 1  # probabilities would be tied at 0 and 1


def test_with_nothing_to_find_f1_is_zero_and_auroc_not_a_number():
    logits = logits_of([-1, -2])
    assert f1(logits, torch.tensor([0, 0])) == 0
    assert auroc(logits, torch.tensor([0, 0])).isnan()
    assert auroc(logits, torch.tensor([1, 1])).isnan()


def test_auroc_of_scores_that_are_no_numbers_is_none_either():
    assert auroc(logits_of([0.5, float("nan")]), torch.tensor([0, 1])).isnan()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_half_precision_does_not_count_examples(given, expected):
    logits = torch.tensor([[0.0, 1.0]] * 3000 + [[0.0, 2.0]], dtype=given)
    target = torch.tensor([0] + [1] * 3000)
    assert (f1(logits, target).dtype, auroc(logits, target).dtype) == (expected, expected)
    assert f1(logits, target).item() == pytest.approx(6000 / 6001, rel=1e-6)
    assert auroc(logits, target).item() == pytest.approx((2999 / 2 + 1) / 3000, rel=1e-6)


@pytest.mark.parametrize("measure", [f1, auroc])
@pytest.mark.parametrize("shape", [(4, 3), (4,), (4, 1)])
def test_other_than_two_classes_are_refused(measure, shape):
    with pytest.raises(
        ValueError, match=rf"{measure.__name__}: logits are \({shape[0]},.*; accepted: \(N, 2\), for two"
    ):
        measure(torch.zeros(shape), torch.zeros(4, dtype=torch.int64))


def test_rounding_in_double_precision_breaks_no_ties():
    scores = torch.tensor([0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2], dtype=torch.float64)
    assert scores.unique().numel() == 2
    assert auroc(logits_of(scores), torch.tensor([0, 1, 0, 1])) == 0.5
