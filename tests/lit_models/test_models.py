"""Contract of every network: shapes, gradients, checkpoints, stacked training, stock LightningCLI."""

import sys
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import get_args

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.cli import LightningCLI
from slow import slow_except
from small_data import FewToAdd, OddOrEven, TinyTexts, TwoKindsOfTexts
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

import lit_models
from datamodules import Diabetes, Digits
from lit_models import (
    MLP,
    Activation,
    Classifier,
    ConvNet,
    MeanEmbedding,
    MLPRegressor,
    Network,
    NumericalGradientMLP,
    Perceptron,
    Recurrent,
    Regressor,
    SequenceClassifier,
    SequenceRegressor,
    TextConvNet,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),  # the data are in memory
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated"),  # Lightning with torch 2.14
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:(?s).*JsonargparseDeprecationWarning"),  # what LightningCLI 2.6 calls
    pytest.mark.filterwarnings("ignore:(?s).*was deprecated in v4"),
]

IMAGES: dict[str, Callable[..., Classifier]] = {
    "perceptron": Perceptron,
    "mlp": partial(MLP, hidden=[16, 12]),
    "mlp without hidden layers": partial(MLP, hidden=[]),
    "mlp with all": partial(MLP, hidden=[16, 12], activation="prelu", batch_norm=True, dropout=0.5),
    "mlp with a measured gradient": partial(NumericalGradientMLP, hidden=[16, 12]),
    "convnet": partial(ConvNet, filters=[4, 6], kernel_size=[3, 2]),
    "convnet without pooling": partial(ConvNet, filters=[4], kernel_size=3, stride=2, pool="none"),
    "convnet with all": partial(
        ConvNet,
        filters=[4, 6],
        kernel_size=3,
        padding=1,
        pool="avg",
        hidden=[12],
        activation="gelu",
        init="xavier",
        batch_norm=True,
        dropout=0.5,
    ),
}
TEXTS: dict[str, Callable[..., Classifier]] = {
    "mean embedding": partial(MeanEmbedding, 8, hidden=[16]),
    "mean embedding without hidden layers": partial(MeanEmbedding, 8, hidden=[]),
    "mean embedding with all": partial(
        MeanEmbedding, 8, hidden=[16, 12], activation="prelu", init="he", batch_norm=True, dropout=0.5
    ),
    "text convnet": partial(TextConvNet, num_maps=5, embedding_size=8, dropout=0.0),
    "text convnet with all": partial(TextConvNet, [2, 2, 14], num_maps=4, embedding_size=8, init="xavier"),
    "rnn": partial(Recurrent, "rnn", hidden_size=7, embedding_size=8),
    "lstm": partial(Recurrent, "lstm", hidden_size=7, embedding_size=8),
    "gru": partial(Recurrent, "gru", hidden_size=7, embedding_size=8),
    "rnn with all": partial(
        Recurrent, "rnn", hidden_size=7, num_layers=2, bidirectional=True, readout="max", embedding_size=8, dropout=0.5
    ),
    "lstm with all": partial(
        Recurrent,
        "lstm",
        hidden_size=7,
        num_layers=2,
        bidirectional=True,
        embedding_size=8,
        init="xavier_normal",
        forget_bias=1.0,
        dropout=0.5,
    ),
    "gru with all": partial(
        Recurrent, "gru", hidden_size=7, num_layers=3, bidirectional=True, readout="mean", embedding_size=8, dropout=0.5
    ),
}
IMAGES_OF_TWO_CLASSES: dict[str, Callable[..., Classifier]] = {
    f"{name}, one logit": partial(IMAGES[name], head="sigmoid")
    for name in ("perceptron", "mlp", "mlp with all", "convnet")
}
TEXTS_OF_TWO_CLASSES: dict[str, Callable[..., Classifier]] = {
    f"{name}, one logit": partial(TEXTS[name], head="sigmoid")
    for name in ("mean embedding", "text convnet with all", "gru")
}
SEQUENCES: dict[str, Callable[..., Classifier]] = {
    "rnn of rows": partial(SequenceClassifier, "rnn", hidden_size=7),
    "lstm of rows with all": partial(
        SequenceClassifier,
        "lstm",
        hidden_size=7,
        num_layers=2,
        bidirectional=True,
        readout="mean",
        init="xavier",
        forget_bias=1.0,
        dropout=0.5,
    ),
    "gru of rows": partial(SequenceClassifier, "gru", hidden_size=7, readout="max"),
}
ADDING: dict[str, Callable[..., Regressor]] = {
    "rnn of numbers": partial(SequenceRegressor, "rnn", hidden_size=7),
    "lstm of numbers": partial(SequenceRegressor, "lstm", hidden_size=7, forget_bias=1.0),
    "gru of numbers with all": partial(
        SequenceRegressor, "gru", hidden_size=7, num_layers=2, bidirectional=True, readout="max", dropout=0.5
    ),
}
NUMBERS: dict[str, Callable[..., Regressor]] = {
    "mlp regressor": partial(MLPRegressor, hidden=[16, 12]),
    "linear regression": partial(MLPRegressor, hidden=[], loss="l1"),
    "mlp regressor with all": partial(
        MLPRegressor, hidden=[16, 12], activation="prelu", batch_norm=True, dropout=0.5, loss="huber"
    ),
}
CLASSIFIERS = IMAGES | SEQUENCES | TEXTS | IMAGES_OF_TWO_CLASSES | TEXTS_OF_TWO_CLASSES
MODELS: dict[str, Callable[..., Network]] = CLASSIFIERS | NUMBERS | ADDING
DATA: dict[str, type] = {
    **dict.fromkeys(IMAGES, Digits),
    **dict.fromkeys(TEXTS, TinyTexts),
    **dict.fromkeys(IMAGES_OF_TWO_CLASSES, OddOrEven),
    **dict.fromkeys(TEXTS_OF_TWO_CLASSES, TwoKindsOfTexts),
    **dict.fromkeys(SEQUENCES, Digits),
    **dict.fromkeys(NUMBERS, Diabetes),
    **dict.fromkeys(ADDING, FewToAdd),
}
REGULARISED = {name for name in MODELS if "with all" in name}

every_model = pytest.mark.parametrize("name", MODELS)
every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)
every_regressor = pytest.mark.parametrize("name", NUMBERS | ADDING)


@pytest.fixture(autouse=True)
def no_seed_left(monkeypatch):
    """Restore the environment variables that seed_everything sets."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


def make_sizes(name):
    linked = ("input_shape", "num_classes", "num_outputs", "vocabulary_size")
    return {size: getattr(DATA[name], size) for size in linked if hasattr(DATA[name], size)}


def make_batch(name, num_examples=16, dtype=torch.float32):
    data = DATA[name]
    if issubclass(data, TinyTexts):
        return data.texts(num_examples)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(num_examples, *data.input_shape, generator=generator, dtype=dtype)
    if hasattr(data, "num_outputs"):
        return inputs, torch.randn(num_examples, data.num_outputs, generator=generator, dtype=dtype)
    return inputs, torch.randint(data.num_classes, (num_examples,), generator=generator)


def make_model(name, seed=0):
    torch.manual_seed(seed)
    return MODELS[name](**make_sizes(name))


def silent(model):
    """Return the model and a list of what it logs, so that its steps run without a Trainer."""
    logged = []
    model.log_dict = lambda metrics, **options: logged.append((metrics, options))
    return model, logged


def test_the_contract_covers_every_shipped_model():
    public = {getattr(lit_models, name) for name in lit_models.__all__}
    shipped = {each for each in public if isinstance(each, type) and issubclass(each, Network)}
    shipped -= {Network, Classifier, Regressor}  # bases
    assert shipped == {type(make_model(name)) for name in MODELS}


@every_model
def test_outputs_have_one_row_an_example_and_one_column_a_class_or_number(name):
    logits = make_model(name)(make_batch(name)[0])
    assert logits.shape == (16, getattr(DATA[name], "num_classes", 1))
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@every_classifier
def test_loss_and_accuracy_are_those_of_the_logits(name):
    model, logged = silent(make_model(name).eval())
    inputs, target = make_batch(name)
    logits = model(inputs)
    expected_loss = -logits.log_softmax(dim=1)[torch.arange(16), target].mean()
    expected_acc = sum(int(row.argmax()) == int(t) for row, t in zip(logits, target, strict=True)) / 16
    for split, step in [("train", model.training_step), ("val", model.validation_step), ("test", model.test_step)]:
        output = step((inputs, target), 0)
        torch.testing.assert_close(output if isinstance(output, torch.Tensor) else output["loss"], expected_loss)
        [(metrics, options)] = logged
        logged.clear()
        assert list(metrics) == [f"{split}/loss", f"{split}/acc"]
        torch.testing.assert_close(metrics[f"{split}/loss"], expected_loss)
        assert metrics[f"{split}/acc"].item() == pytest.approx(expected_acc)
        assert options == {"on_step": False, "on_epoch": True, "batch_size": 16}


@every_regressor
def test_loss_and_absolute_error_are_those_of_the_predictions(name):
    model, logged = silent(make_model(name).eval())
    inputs, target = make_batch(name)
    error = (model(inputs) - target).abs()
    expected = {
        "mse": error.square(),
        "l1": error,
        "huber": torch.where(error < 1, error.square() / 2, error - 0.5),
    }[model.hparams["loss"]].mean()
    for split, step in [("train", model.training_step), ("val", model.validation_step), ("test", model.test_step)]:
        for shaped in (target, target.squeeze(1)):  # one number an example may come without an axis of its own
            output = step((inputs, shaped), 0)
            torch.testing.assert_close(output if isinstance(output, torch.Tensor) else output["loss"], expected)
            [(metrics, options)] = logged
            logged.clear()
            assert list(metrics) == [f"{split}/loss", f"{split}/mae"]
            torch.testing.assert_close(metrics[f"{split}/mae"], error.mean())
            assert options == {"on_step": False, "on_epoch": True, "batch_size": 16}


@every_model
def test_gradients_reach_every_parameter(name):
    model, _ = silent(make_model(name))
    model.training_step(make_batch(name), 0).backward()
    assert [parameter for parameter, value in model.named_parameters() if value.grad is None] == []
    # Batch norm takes the mean away, and with it what the bias just before it adds.
    cancelled = ()
    if any(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in model.modules()):
        cancelled = ("linear1.bias", "linear2.bias", "conv1.bias", "conv2.bias")
    reached = [parameter for parameter, value in model.named_parameters() if value.grad.abs().max() > 1e-6]
    assert [each for each, _ in model.named_parameters() if each not in reached and not each.endswith(cancelled)] == []


@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("network", [MLP, ConvNet])
def test_gradients_pass_through_every_activation(network, activation):
    sizes = {"hidden": [16]} if network is MLP else {"filters": [4], "kernel_size": 3}
    torch.manual_seed(0)
    model, _ = silent(network(activation=activation, **sizes, **make_sizes("mlp")))
    model.training_step(make_batch("mlp"), 0).backward()
    assert [name for name, value in model.named_parameters() if not value.grad.abs().max() > 0] == []


@every_model
def test_eval_is_deterministic_and_independent_of_the_rest_of_the_batch(name):
    model = make_model(name).eval()
    inputs, _ = make_batch(name)
    logits = model(inputs)
    assert torch.equal(logits, model(inputs))
    torch.testing.assert_close(logits[:3], model(inputs[:3]))


@every_model
def test_training_differs_from_eval_only_by_dropout_and_batch_norm(name):
    model = make_model(name)
    inputs, _ = make_batch(name)
    same = torch.equal(model.train()(inputs), model.eval()(inputs))
    assert same == (name not in REGULARISED)
    model.train()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.BatchNorm1d | nn.BatchNorm2d):
            layer.eval()
    assert torch.equal(model(inputs), model.eval()(inputs))


@every_model
def test_same_seed_same_start(name):
    first, second, other = (make_model(name, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@every_model
def test_stacked_copies_train_as_single_ones(name):
    models = [silent(make_model(name, seed))[0].double() for seed in range(3)]
    if name in REGULARISED:
        for model in models:  # masks of stacked copies are other draws; the rest must agree
            for layer in model.modules():
                if isinstance(layer, nn.Dropout):
                    layer.p = 0.0
    batch = make_batch(name, dtype=torch.float64)
    parameters, buffers = stack_module_state(models)

    def loss(parameters, buffers):
        return functional_call(_Training(models[0]), (_prefixed(parameters), _prefixed(buffers)), (batch,))

    stacked = vmap(grad(loss), randomness="different")(parameters, buffers)
    for index, model in enumerate(models):
        single = torch.autograd.grad(model.training_step(batch, 0), list(model.parameters()))
        for (parameter, _), gradient in zip(model.named_parameters(), single, strict=True):
            torch.testing.assert_close(stacked[parameter][index], gradient, rtol=1e-9, atol=1e-12)
        for buffer, value in model.named_buffers():
            torch.testing.assert_close(buffers[buffer][index], value)


class _Training(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        return self.model.training_step(batch, 0)


def _prefixed(tensors):
    return {f"model.{name}": value for name, value in tensors.items()}


def cli_config(name, tmp_path):
    model = MODELS[name]
    network, arguments = type(make_model(name)), {}
    if isinstance(model, partial):
        arguments = dict(zip(signature(network).parameters, model.args, strict=False)) | model.keywords
    data = DATA[name]
    sizes = {"train_size": 400, "val_size": 50, "test_size": 50} if issubclass(data, Digits) else {}
    return {
        "seed_everything": 1,
        "model": {"class_path": f"lit_models.{network.__name__}", "init_args": arguments},
        "data": {"class_path": f"{data.__module__}.{data.__name__}", "init_args": sizes},
        "trainer": {
            "max_epochs": 1,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(tmp_path),
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"dirpath": str(tmp_path), "filename": "last"},
                }
            ],
        },
    }


@pytest.mark.parametrize(
    "name",
    slow_except(MODELS, "perceptron", "mlp with all", "convnet with all", "gru with all", "lstm of rows with all"),
)
def test_trains_in_stock_lightning_cli_and_loads_from_its_checkpoint(name, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])  # LightningCLI warns when pytest has arguments of its own
    config = {"subcommand": "fit", "fit": cli_config(name, tmp_path)}
    cli = LightningCLI(args=config, save_config_callback=None)
    num_classes = getattr(cli.datamodule, "num_classes", 0)
    of_step = {"loss", "acc" if num_classes else "mae"}
    of_epoch = {0: {"rmse", "r2"}, 2: {"f1", "auroc"}}.get(num_classes, set())
    of_val, of_test = ({f"{split}/{each}" for each in of_epoch | of_step} for split in ("val", "test"))
    measured = ("evaluations", "seconds", "relative_error") if isinstance(cli.model, NumericalGradientMLP) else ()
    of_train = {*(f"train/{each}" for each in of_step), *(f"gradient/{each}" for each in measured)}
    assert set(cli.trainer.callback_metrics) == of_train | of_val
    [tested] = cli.trainer.test(cli.model, datamodule=cli.datamodule, verbose=False)
    assert set(tested) == of_test

    loaded = type(cli.model).load_from_checkpoint(tmp_path / "last.ckpt")  # weights_only, torch's default
    inputs, _ = make_batch(name)
    assert torch.equal(loaded.eval()(inputs), cli.model.eval()(inputs))
    expected = make_sizes(name)
    assert loaded.hparams["input_shape"] == list(expected.pop("input_shape"))
    assert {size: loaded.hparams[size] for size in expected} == expected


@every_model
@pytest.mark.parametrize("given", [True, False], ids=["sizes given", "sizes from the data"])
def test_loads_from_a_checkpoint_written_from_python(name, given, tmp_path):
    seed_everything(1, verbose=False)
    model = MODELS[name](**(make_sizes(name) if given else {}))
    trainer = Trainer(
        max_steps=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(model, datamodule=DATA[name]())
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = type(model).load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    inputs, _ = make_batch(name)
    assert torch.equal(loaded.eval()(inputs), model.eval()(inputs))
    chosen = ("hidden", "filters", "init", "widths", "cell", "readout", "head", "loss")
    assert {key: value for key, value in loaded.hparams.items() if key in chosen} == {
        key: value for key, value in model.hparams.items() if key in chosen
    }
