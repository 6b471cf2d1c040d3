"""Contract of every data module: splits, orders and batches, without the global generator."""

import copy
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import nn

import datamodules
from datamodules import (
    CIFAR10,
    MNIST,
    AddingProblem,
    Diabetes,
    Digits,
    ImageDataModule,
    InMemoryDataModule,
    Sentiment,
    Shapes,
    SyntheticReviews,
    TensorDataModule,
    TextDataModule,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),  # the data are in memory
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated"),  # Lightning with torch 2.14
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
]


class Counted(TensorDataModule):
    """A user's data set: a pool of 100 examples and 20 official test examples, numbered."""

    input_shape = (1,)
    num_classes = 120
    pool_size = 100
    num_official_test = 20

    def __init__(
        self, batch_size=8, train_size=0.5, val_size=10, test_size: float | None = None, seed=None, eval_batch_size=7
    ):
        super().__init__(
            batch_size=batch_size,
            train_size=train_size,
            val_size=val_size,
            test_size=test_size,
            seed=seed,
            eval_batch_size=eval_batch_size,
        )

    def load(self):
        return torch.arange(120.0)[:, None], torch.arange(120)


needs_mnist = pytest.mark.skipif(
    not (Path(os.environ.get("ABLATE_DATA_DIR", "absent")) / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file(),
    reason="no MNIST/raw in the folder that ABLATE_DATA_DIR names",
)

REVIEWS = Path(__file__).parents[2] / "examples" / "reviews.tsv"
TEXTS: dict[str, Callable[..., TextDataModule]] = {
    "bags": partial(Sentiment, str(REVIEWS), text="Review", label="Liked"),
    "n-grams": partial(
        Sentiment,
        str(REVIEWS),
        text="Review",
        label="Liked",
        weighting="tfidf",
        ngrams=(1, 2),
        vocabulary_size=500,
        min_df=2,
    ),
    "tokens": partial(Sentiment, str(REVIEWS), text="Review", label="Liked", representation="tokens", length=12),
    "synthetic tokens": partial(SyntheticReviews, 300, representation="tokens", vocabulary_size=200, length=24),
}
TENSORS: dict[str, Callable[..., TensorDataModule]] = {
    "Counted": Counted,
    "Digits": Digits,
    "permuted Digits": partial(Digits, permute_pixels=True),
    "MNIST": MNIST,
    "CIFAR10": CIFAR10,
    "Shapes": partial(Shapes, 400),
    "Diabetes": Diabetes,
    "AddingProblem": partial(AddingProblem, 20, num_sequences=400),
}
DATA: dict[str, Callable[..., InMemoryDataModule]] = {**TENSORS, **TEXTS}

needs_cifar10 = pytest.mark.skipif(
    not (Path(os.environ.get("ABLATE_DATA_DIR", "absent")) / "cifar-10-batches-py" / "data_batch_1").is_file(),
    reason="no cifar-10-batches-py in the folder that ABLATE_DATA_DIR names",
)
NEEDS: dict[Callable[..., InMemoryDataModule], pytest.MarkDecorator] = {MNIST: needs_mnist, CIFAR10: needs_cifar10}
every_data = pytest.mark.parametrize(
    "make_data", [pytest.param(make, marks=NEEDS.get(make, ())) for make in DATA.values()], ids=DATA
)
# Nothing is read before setup, so these tests need no files.
every_data_unread = pytest.mark.parametrize("make_data", DATA.values(), ids=DATA)


@pytest.fixture(autouse=True)
def no_seed_left(monkeypatch):
    """Restore the environment variables that seed_everything sets."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def everything(data):
    """Return all examples: inputs and target."""
    return data.make_examples()[torch.arange(num_examples(data))]


def num_examples(data):
    if isinstance(data, TextDataModule):
        return len(data.texts.texts)
    return data.pool_size + data.num_official_test


def name_of(make_data):
    return (make_data.func if isinstance(make_data, partial) else make_data).__name__


def targets(loader):
    return torch.cat([target for _, target in loader]).tolist()


def order(data, epoch=0):
    """Return the indices of the examples of an epoch."""
    sampler = data.train_dataloader().sampler
    sampler.set_epoch(epoch)
    return torch.cat(list(sampler)).tolist()


def test_the_contract_covers_every_shipped_data_module():
    public = {getattr(datamodules, name) for name in datamodules.__all__}
    shipped = {each for each in public if isinstance(each, type) and issubclass(each, InMemoryDataModule)}
    covered = {make.func if isinstance(make, partial) else make for make in DATA.values()}
    bases = {InMemoryDataModule, TensorDataModule, ImageDataModule, TextDataModule}
    assert shipped - bases == covered - {Counted}


# --- splits ---


@every_data_unread
def test_no_example_is_in_two_splits(make_data):
    data = make_data(seed=1)
    indices = torch.cat(data.split).tolist()
    assert len(set(indices)) == len(indices)
    assert min(indices) >= 0
    assert max(indices) < num_examples(data)


@every_data_unread
def test_splits_have_the_given_sizes(make_data):
    data = make_data(train_size=40, val_size=30, test_size=0.25, seed=1)
    pool_size = num_examples(data) - getattr(data, "num_official_test", 0)
    assert [len(indices) for indices in data.split] == [40, 30, int(pool_size / 4 + 0.5)]
    assert max(torch.cat(data.split)) < pool_size


@every_data_unread
def test_the_split_follows_the_seed(make_data):
    first, second, other = (make_data(seed=seed).split for seed in (1, 1, 2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))
    assert first.train.tolist() != other.train.tolist()


@every_data_unread
def test_without_a_seed_it_is_the_one_of_seed_everything(make_data):
    seed_everything(5, verbose=False)
    torch.rand(3)  # the seed counts, not how often the generator was used
    data = make_data()
    assert data.seed == 5
    assert torch.equal(data.split.train, make_data(seed=5).split.train)


@every_data_unread
def test_the_split_does_not_depend_on_the_batch_size(make_data):
    assert torch.equal(make_data(batch_size=3, seed=1).split.train, make_data(batch_size=50, seed=1).split.train)


@every_data
def test_setup_may_run_again_for_each_stage(make_data):
    data = ready(make_data(seed=1))
    before = targets(data.val_dataloader()), targets(data.test_dataloader())
    for stage in ("fit", "validate", "test", None):
        data.setup(stage)
    assert (targets(data.val_dataloader()), targets(data.test_dataloader())) == before


# --- batches ---


@every_data
def test_batches_have_the_shapes_and_types_that_were_announced(make_data):
    data = make_data(batch_size=16, eval_batch_size=30, seed=1)
    input_shape, num_classes = data.input_shape, getattr(data, "num_classes", None)  # known before any file is read
    ready(data)
    for loader, size in [(data.train_dataloader(), 16), (data.val_dataloader(), 30), (data.test_dataloader(), 30)]:
        inputs, target = next(iter(loader))
        assert inputs.shape == (min(size, len(torch.cat(list(loader.sampler)))), *input_shape)
        assert target.shape == (len(inputs), *(() if num_classes else (data.num_outputs,)))
        assert inputs.dtype == (torch.float32 if getattr(data, "vocabulary_size", None) is None else torch.int64)
        assert target.dtype == (torch.int64 if num_classes else torch.float32)
        assert inputs.isfinite().all()
        if num_classes:
            assert target.min() >= 0
            assert target.max() < num_classes


@every_data
def test_an_epoch_holds_every_training_example_once(make_data):
    data = ready(make_data(batch_size=24, seed=1))
    assert sorted(order(data)) == sorted(data.split.train.tolist())
    assert len(targets(data.train_dataloader())) == len(data.split.train)
    assert len(data.train_dataloader()) == -(-len(data.split.train) // 24)


@every_data
def test_evaluation_holds_every_example_once_in_one_order(make_data):
    data = ready(make_data(seed=1))
    _, all_targets = everything(data)
    for loader, indices in [(data.val_dataloader(), data.split.val), (data.test_dataloader(), data.split.test)]:
        assert targets(loader) == all_targets[indices].tolist()
        loader.sampler.set_epoch(3)
        assert targets(loader) == all_targets[indices].tolist()


@every_data
def test_inputs_go_with_their_targets(make_data):
    data = ready(make_data(seed=1))
    gather_inputs, all_targets = everything(data)
    loader = data.train_dataloader()
    for indices, (inputs, target) in zip(loader.sampler, loader, strict=True):
        assert torch.equal(inputs, gather_inputs[indices])
        assert torch.equal(target, all_targets[indices])


@every_data
def test_a_batch_may_be_changed_without_harm(make_data):
    data = ready(make_data(seed=1))
    first, _ = next(iter(data.val_dataloader()))
    before = first.clone()
    first.zero_()
    assert torch.equal(next(iter(data.val_dataloader()))[0], before)


@every_data
def test_a_batch_of_all_is_the_whole_training_split(make_data):
    data = ready(make_data(batch_size="all", seed=1))
    ((inputs, target),) = data.train_dataloader()
    assert len(inputs) == len(target) == len(data.split.train)
    assert sorted(order(data)) == sorted(data.split.train.tolist())


def test_batches_of_one_example_are_all_kept():
    data = ready(Counted(batch_size=1, seed=1))
    assert [len(target) for _, target in data.train_dataloader()] == [1] * 50


# --- folds ---


every_tensor = pytest.mark.parametrize(
    "make_data",
    [pytest.param(make, marks=needs_mnist if make is MNIST else ()) for make in (Digits, MNIST, Diabetes)],
)


@every_tensor
def test_each_example_of_the_pool_is_tested_by_one_fold_of_a_partition(make_data):
    for first in (0, 3):
        splits = [ready(make_data(folds=3, seed=seed)).split for seed in range(first, first + 3)]
        tested = torch.cat([split.test for split in splits])
        assert sorted(tested.tolist()) == list(range(make_data.pool_size))
        assert max(len(split.test) for split in splits) - min(len(split.test) for split in splits) <= 1
        for split in splits:
            assert sorted(torch.cat(split).tolist()) == list(range(make_data.pool_size))


@every_tensor
def test_the_next_seeds_are_another_partition_and_a_fold_may_be_chosen(make_data):
    first, again = (set(make_data(folds=3, seed=seed).split.test.tolist()) for seed in (0, 3))
    assert first != again
    assert set(make_data(folds=3, fold=0, seed=7).split.test.tolist()) == first


def test_folds_have_the_classes_in_equal_numbers():
    _, target = Digits(seed=0).load()
    counts = torch.stack([target[Digits(folds=5, seed=seed).split.test].bincount() for seed in range(5)])
    assert (counts.max(dim=0).values - counts.min(dim=0).values).max() <= 1


@pytest.mark.parametrize("make_data", [Digits, MNIST, Diabetes])
def test_sizes_may_not_be_given_with_folds(make_data):
    name = make_data.__name__
    with pytest.raises(
        ValueError, match=f"^{name}: folds is 5, so the fold tests; train_size and test_size must be null$"
    ):
        make_data(folds=5, test_size=0.2)
    with pytest.raises(ValueError, match=f"^{name}: fold is 5 and folds is 5; accepted: from 0 up to folds - 1$"):
        make_data(folds=5, fold=5)
    with pytest.raises(ValueError, match=f"^{name}: folds is 1; accepted: an integer of at least 2$"):
        make_data(folds=1)


# --- orders ---


@every_data
def test_the_order_follows_seed_and_epoch(make_data):
    data = ready(make_data(seed=1))
    assert order(data, epoch=0) == order(ready(make_data(seed=1)), epoch=0)
    assert order(data, epoch=0) != order(data, epoch=1)
    assert order(data, epoch=0) != data.split.train.tolist()
    other = ready(make_data(seed=2))
    other.split = data.split
    assert order(data, epoch=0) != order(other, epoch=0)


@every_data
def test_epochs_do_not_touch_the_global_generator_nor_depend_on_it(make_data):
    torch.manual_seed(0)
    data = ready(make_data(seed=1))
    state = torch.get_rng_state()
    first = targets(data.train_dataloader())
    targets(data.val_dataloader())
    assert torch.equal(torch.get_rng_state(), state)
    nn.Linear(100, 100)  # a model draws its weights
    assert targets(data.train_dataloader()) == first


class Reader(LightningModule):
    """Network that does not learn and records its inputs."""

    def __init__(self, num_draws):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(num_draws))
        self.epochs = []

    def on_train_epoch_start(self):
        self.epochs.append([])

    def training_step(self, batch, batch_idx):
        self.epochs[-1] += batch[1].tolist()
        return self.weight.sum() * torch.rand(())  # dropout would draw, too

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(model, data, max_epochs=3, ckpt_path=None):
    trainer = Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("make_data", [Counted, Digits])
def test_in_a_trainer_each_epoch_has_a_different_order_for_every_model(make_data):
    small, large = Reader(num_draws=1), Reader(num_draws=1000)
    for model in (small, large):
        fit(model, make_data(seed=1))
    data = ready(make_data(seed=1))
    _, all_targets = everything(data)
    assert small.epochs == [all_targets[order(data, epoch)].tolist() for epoch in range(3)]
    assert large.epochs == small.epochs


def test_an_interrupted_training_continues_with_the_orders_it_would_have_had(tmp_path):
    whole, rest = Reader(1), Reader(1)
    fit(whole, Counted(seed=1), max_epochs=4)
    fit(Reader(1), Counted(seed=1), max_epochs=2).save_checkpoint(tmp_path / "half.ckpt")
    fit(rest, Counted(seed=1), max_epochs=4, ckpt_path=tmp_path / "half.ckpt")
    assert rest.epochs == whole.epochs[2:]


@pytest.mark.filterwarnings("ignore:Total length of `DataLoader` across ranks is zero")  # as asked
def test_training_without_validation_and_test_examples():
    data = Counted(train_size=50, val_size=0, test_size=0, seed=1)
    model = Reader(1)
    fit(model, data, max_epochs=1)
    assert len(model.epochs[0]) == 50
    assert (len(data.val_dataloader()), len(data.test_dataloader())) == (0, 0)


# --- copies ---


@every_data
@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))], ids=["copy", "pickle"]
)
def test_copies_are_small_and_read_the_same(make_data, clone):
    data = ready(make_data(seed=1))
    assert len(pickle.dumps(data)) < 16 * sum(len(indices) for indices in data.split) + 20_000  # bytes; the indices
    copied = ready(clone(data))
    assert order(copied) == order(data)
    assert targets(copied.test_dataloader()) == targets(data.test_dataloader())


# --- errors ---


@every_data_unread
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; accepted: an integer of at least 1, or 'all'"),
        ({"batch_size": True}, "batch_size is True; accepted: an integer of at least 1, or 'all'"),
        ({"batch_size": "al"}, "batch_size is 'al'; accepted: an integer of at least 1, or 'all'"),
        ({"eval_batch_size": -5}, "eval_batch_size is -5; accepted: an integer of at least 1"),
        ({"seed": -1}, "seed is -1; accepted: an integer of at least 0"),
        ({"train_size": 0}, "train_size is 0; accepted: a positive number of examples, or a fraction of the pool "),
        ({"val_size": 1.5}, "val_size is 1.5; accepted: a number of examples, 0 for none, or a fraction of the pool "),
    ],
)
def test_arguments_out_of_range_are_refused(make_data, arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the message is compared
        make_data(**arguments)
    assert str(error.value).startswith(f"{name_of(make_data)}: {message}")


@every_data_unread
def test_batches_cannot_be_read_before_setup(make_data):
    with pytest.raises(
        RuntimeError, match=rf"{name_of(make_data)}: the data have not been read yet; call setup\(\) first"
    ):
        make_data(seed=1).train_dataloader()


def test_without_an_official_test_set_a_share_is_drawn():
    assert [len(indices) for indices in Digits(test_size=None, seed=1).split] == [1258, 269, 270]


def test_a_subclass_without_load_raises():
    class Empty(TensorDataModule):
        input_shape, num_classes, pool_size = (1,), 2, 10

    data = Empty(batch_size=1, train_size=8, val_size=1, test_size=1, seed=1)
    with pytest.raises(NotImplementedError, match=r"Empty: write load\(self\), which returns \(inputs, target\)"):
        data.setup()


def test_unlabelled_examples_are_in_no_split_and_leave_the_splits_as_they_are():
    plain, more = (Digits(train_size=100, val_size=50, test_size=50, unlabelled_size=n, seed=3) for n in (0, 400))
    for one, other in zip(plain.split, more.split, strict=True):
        assert torch.equal(one, other)
    assert len(more.unlabelled.unique()) == 400
    assert not torch.isin(more.unlabelled, torch.cat(more.split)).any()
    fewer = Digits(train_size=100, val_size=50, test_size=50, unlabelled_size=10, seed=3)
    assert torch.equal(fewer.unlabelled, more.unlabelled[:10])


def test_pretraining_batches_have_training_and_unlabelled_examples_only():
    data = Counted(train_size=10, val_size=10, test_size=10, seed=1)
    data.setup()
    seen = torch.cat([target for _, target in data.pretraining_dataloader()])
    assert torch.equal(seen, data.split.train)
    digits = Digits(train_size=100, unlabelled_size=300, seed=1)
    digits.setup()
    seen = torch.cat([inputs for inputs, _ in digits.pretraining_dataloader()])
    assert torch.equal(seen, digits.load()[0][torch.cat([digits.split.train, digits.unlabelled])])


def test_too_many_unlabelled_examples_raise_with_the_numbers():
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        Digits(train_size=1000, val_size=200, test_size=200, unlabelled_size=398, seed=0)
    assert str(error.value) == ("Digits: unlabelled_size is 398, and the splits leave 397 of the pool of 1797 examples")
    with pytest.raises(ValueError, match="Digits: unlabelled_size is -1; accepted: an integer of at least 0"):
        Digits(unlabelled_size=-1)
