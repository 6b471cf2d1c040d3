import pytest
import torch
from sklearn.datasets import load_diabetes

from datamodules import Diabetes, Digits


def parts(**arguments):
    data = Diabetes(**arguments)
    data.setup()
    return data, [data.make_examples()[indices] for indices in data.split]


def test_the_numbers_are_those_of_scikit_learn():
    inputs, target = Diabetes(seed=1).load()
    expected = load_diabetes(scaled=False)
    torch.testing.assert_close(inputs, torch.from_numpy(expected.data).float())
    assert target.flatten().tolist() == expected.target.tolist()


def test_the_training_split_standardises_all():
    data, (train, val, test) = parts(seed=1)
    for values in train:
        torch.testing.assert_close(values.mean(dim=0), torch.zeros(values.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(values.std(dim=0, correction=0), torch.ones(values.shape[1]), atol=1e-5, rtol=0)
    raw_inputs, raw_target = data.load()
    for part, indices in ((val, data.split.val), (test, data.split.test)):
        for found, raw in zip(part, (raw_inputs, raw_target), strict=True):
            known = raw[data.split.train].double()
            expected = (raw[indices].double() - known.mean(0)) / known.std(0, correction=0)
            torch.testing.assert_close(found, expected.float())


def test_the_target_may_keep_its_unit():
    data, (train, *_) = parts(seed=1, standardise_target=False)
    assert torch.equal(train[1], data.load()[1][data.split.train])
    assert data.notes() == []


def test_a_note_gives_the_unit_of_errors():
    data, _ = parts(seed=1)
    spread = data.load()[1][data.split.train].double().std(correction=0).item()
    assert data.notes() == [f"The training split standardises the target: an error of 1 is {spread:.1f} (with seed 1)."]
    assert spread == pytest.approx(77, abs=3)


def test_default_split():
    assert [len(indices) for indices in Diabetes(seed=1).split] == [309, 67, 66]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Diabetes(folds=500, seed=1), "Diabetes: folds is 500, but class 0 has 442 examples"),
        (Digits(folds=200, seed=1), "Digits: folds is 200, but class 8 has 174 examples"),
    ],
)
def test_impossible_folds_raise_before_training(data, message):
    with pytest.raises(ValueError, match=message):
        data.prepare_data()
