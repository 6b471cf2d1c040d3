import sys
from functools import partial

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, ReduceLROnPlateau
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from datamodules import Digits
from lit_models import (
    MLP,
    Classifier,
    ConvNet,
    MeanEmbedding,
    Perceptron,
    Recurrent,
    TextConvNet,
    auroc,
    f1,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),  # the data are in memory
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated"),  # Lightning with torch 2.14
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),  # Shapeless
]


class Shapeless(LightningDataModule):
    """Data module without an input_shape."""

    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)), batch_size=2)


class Sized(Shapeless):
    input_shape = (2,)
    num_classes = 3


class BagOfWords(Sized):
    vocabulary_size = None


class Texts(LightningDataModule):
    input_shape = (2,)
    num_classes = 3
    vocabulary_size = 9

    def train_dataloader(self):
        tokens = torch.tensor([[1, 2], [3, 0], [8, 8], [0, 0]])
        return DataLoader(TensorDataset(tokens, torch.zeros(4, dtype=torch.int64)), batch_size=2)


def make_trainer():
    return Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def parse(arguments):
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
    config = parser.parse_args([f"--model.{key}={value}" for key, value in arguments])
    return parser, config


# --- sizes ---


def test_sizes_come_from_any_data_module_that_has_them():
    model = Perceptron()
    make_trainer().fit(model, datamodule=Sized())
    assert model.layers.output.weight.shape == (3, 2)


def test_a_size_given_goes_before_the_data_module():
    model = Perceptron(num_classes=7)
    trainer = make_trainer()
    trainer.datamodule = Sized()
    model.trainer = trainer
    model.configure_model()
    assert model.layers.output.weight.shape == (7, 2)


def test_configuring_again_keeps_the_layers():
    model = MLP(input_shape=(4,), num_classes=2)
    layers, values = model.layers, {key: value.clone() for key, value in model.state_dict().items()}
    model.configure_model()
    assert model.layers is layers
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())


def test_a_data_module_without_sizes_raises_with_advice():
    expected = (
        r"MLP: the data module Shapeless has no input_shape; add the attribute, such as `input_shape = \(1, 28, 28\)`, "
        "or give MLP its input_shape"
    )
    with pytest.raises(RuntimeError, match=expected):
        make_trainer().fit(MLP(), datamodule=Shapeless())


def test_a_data_module_without_classes_raises_with_advice():
    with pytest.raises(
        RuntimeError, match=r"Shapeless has no num_classes; add the attribute, such as `num_classes = 10"
    ):
        make_trainer().fit(MLP(input_shape=(2,)), datamodule=Shapeless())


def test_bare_loaders_have_no_sizes():
    with pytest.raises(
        RuntimeError, match="MLP: input_shape is not known; give it, or train with a data module that has"
    ):
        make_trainer().fit(MLP(), Shapeless().train_dataloader())


def test_a_network_without_layers_raises():
    with pytest.raises(RuntimeError, match="MLP: the layers are not built yet; give input_shape and num_classes"):
        MLP()(torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"input_shape": (1, 0), "num_classes": 2}, r"MLP: input_shape is \(1, 0\); accepted: a list of integers"),
        ({"input_shape": (1, 8), "num_classes": 0}, "MLP: num_classes is 0; accepted: an integer of at least 1"),
    ],
)
def test_impossible_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        MLP(**sizes)


def test_the_size_of_the_vocabulary_comes_from_the_data_module():
    model = MeanEmbedding(embedding_size=4)
    make_trainer().fit(model, datamodule=Texts())
    assert model.layers.features.embedding.weight.shape == (9, 4)
    assert model.hparams["vocabulary_size"] == 9


def test_a_vocabulary_given_goes_before_the_data_module():
    model = MeanEmbedding(embedding_size=4, vocabulary_size=11)
    make_trainer().fit(model, datamodule=Texts())
    assert model.layers.features.embedding.weight.shape == (11, 4)


@pytest.mark.parametrize("network", [MeanEmbedding, TextConvNet, Recurrent])
@pytest.mark.parametrize("data", [Sized, BagOfWords])
def test_a_data_module_without_a_vocabulary_raises_with_advice(network, data):
    name = network.__name__
    with pytest.raises(RuntimeError) as error:
        make_trainer().fit(network(), datamodule=data())
    assert str(error.value) == (
        f"{name}: the data module {data.__name__} has no vocabulary_size; this network reads token ids; "
        f"a text data module with `representation: tokens` has it, or give {name} its vocabulary_size"
    )


def test_a_network_for_tokens_without_layers_raises_with_its_sizes():
    with pytest.raises(
        RuntimeError, match="not built yet; give input_shape, num_classes and vocabulary_size, or train"
    ):
        Recurrent(input_shape=(4,), num_classes=2)(torch.zeros(1, 4, dtype=torch.int64))


# --- heads ---


def test_one_logit_is_trained_with_binary_cross_entropy():
    torch.manual_seed(0)
    model = MLP(hidden=[5], head="sigmoid", input_shape=(4,), num_classes=2).double()
    model.log_dict = lambda metrics, **options: None
    inputs, target = 3 * torch.randn(16, 4, dtype=torch.float64), torch.arange(16) % 2
    assert model.layers.output.weight.shape == (1, 5)
    z = model.layers(inputs).squeeze(1)
    expected = nn.functional.binary_cross_entropy_with_logits(z, target.double())
    loss = model.training_step((inputs, target), 0)
    torch.testing.assert_close(loss, expected, rtol=1e-14, atol=0)
    gradients = [torch.autograd.grad(value, list(model.parameters())) for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("z", [-800.0, -30.0, 0.0, 30.0, 800.0])
def test_far_from_the_border_one_logit_loses_no_precision(z):
    model = Perceptron(head="sigmoid", input_shape=(1,), num_classes=2)
    nn.init.ones_(model.layers.output.weight)
    nn.init.zeros_(model.layers.output.bias)
    inputs = torch.tensor([[z]], requires_grad=True)
    logits = model(inputs)
    assert logits.tolist() == [[0.0, z]]
    for label in (0, 1):
        loss = nn.functional.cross_entropy(model(inputs), torch.tensor([label]))
        expected = nn.functional.binary_cross_entropy_with_logits(inputs[0], torch.tensor([float(label)]))
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(*(torch.autograd.grad(value, inputs)[0] for value in (loss, expected)))


def test_one_logit_requires_two_classes():
    message = (
        "MLP: head is 'sigmoid', one logit for two classes, and num_classes is 10; "
        "accepted: num_classes 2, or head 'softmax'"
    )
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        MLP(head="sigmoid", input_shape=(4,), num_classes=10)
    assert str(error.value) == message
    with pytest.raises(ValueError, match=r"^Perceptron: head is 'sigmoid', one logit for two classes"):
        make_trainer().fit(Perceptron(head="sigmoid"), datamodule=Sized())


def test_an_unknown_head_raises_in_the_constructor():
    with pytest.raises(ValueError, match=r"^MLP: head is 'softmx'; accepted: 'softmax', 'sigmoid'; did you mean 's"):
        MLP(head="softmx")


# --- a network of one's own ---


class Own(Classifier):
    def __init__(self, width: int = 5, **options):
        self.width = width
        super().__init__(**options)

    def make_layers(self, input_shape, num_outputs):
        return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], self.width), nn.Linear(self.width, num_outputs))


def test_a_subclass_brings_layers_and_arguments(tmp_path):
    model = Own(width=6)
    trainer = make_trainer()
    trainer.fit(model, datamodule=Sized())
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    loaded = Own.load_from_checkpoint(tmp_path / "own.ckpt")
    assert torch.equal(loaded(torch.ones(1, 2)), model(torch.ones(1, 2)))
    given = {key: value for key, value in loaded.hparams.items() if value is not None}
    assert given == {"width": 6, "input_shape": [2], "num_classes": 3, "head": "softmax"}


class Halved(MLP):
    def __init__(self, hidden: int = 6):
        super().__init__([hidden // 2], input_shape=(4,), num_classes=2)


@pytest.mark.filterwarnings("ignore:(?s).*JsonargparseDeprecationWarning", "ignore:(?s).*was deprecated in v4")
def test_layers_are_built_from_arguments_and_not_from_hyperparameters(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])  # LightningCLI warns when pytest has arguments of its own
    options = {"run": False, "save_config_callback": None, "seed_everything_default": False}
    by_cli = LightningCLI(Halved, args=[], trainer_defaults={"logger": False, "accelerator": "cpu"}, **options).model
    for model in (Halved(), by_cli):
        assert model.layers.linear1.out_features == 3
        assert model.hparams["hidden"] == 6
    assert "dropout" not in by_cli.hparams


def test_a_subclass_without_make_layers_raises():
    with pytest.raises(NotImplementedError, match=r"^Classifier: write make_layers\(self, input_shape, num_outputs\)$"):
        Classifier(input_shape=(4,), num_classes=2)


class Words(Classifier):
    """Classifier with a vocabulary and only torch's layers."""

    def __init__(self, *, vocabulary_size=None, **options):
        super().__init__(vocabulary_size=vocabulary_size, **options)

    def make_layers(self, input_shape, num_outputs):
        embedding = nn.Embedding(self.hparams["vocabulary_size"], 3)
        return nn.Sequential(embedding, nn.Flatten(), nn.Linear(3 * input_shape[0], num_outputs))


def test_a_subclass_may_ask_for_a_vocabulary(tmp_path):
    model = Words()
    trainer = make_trainer()
    trainer.fit(model, datamodule=Texts())
    trainer.save_checkpoint(tmp_path / "words.ckpt")
    loaded = Words.load_from_checkpoint(tmp_path / "words.ckpt")
    tokens = torch.tensor([[1, 8]])
    assert torch.equal(loaded(tokens), model(tokens))
    assert loaded.hparams["vocabulary_size"] == 9


# --- configuration ---


def test_a_single_setting_of_the_default_optimizer_can_be_changed():
    parser, config = parse([("class_path", "lit_models.MLP"), ("init_args.optimizer.init_args.weight_decay", 0.1)])
    model = parser.instantiate(config).model
    model.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    model.trainer.datamodule = Digits()
    model.configure_model()
    optimizer = model.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-3, 0.1)


IMAGES = {"input_shape": [1, 28, 28], "num_classes": 10}
TEXTS = {"input_shape": [12], "num_classes": 2, "vocabulary_size": 20}
every_network = pytest.mark.parametrize(
    ("network", "sizes"),
    [(network, IMAGES) for network in (Perceptron, MLP, ConvNet)]
    + [(network, TEXTS) for network in (MeanEmbedding, TextConvNet, Recurrent)],
)


@every_network
def test_another_optimizer_can_be_named(network, sizes):
    arguments = [
        ("class_path", f"lit_models.{network.__name__}"),
        *((f"init_args.{name}", size) for name, size in sizes.items()),
        ("init_args.optimizer", "{class_path: torch.optim.SGD, init_args: {lr: 0.01}}"),
    ]
    parser, config = parse(arguments)
    optimizer = parser.instantiate(config).model.configure_optimizers()
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.defaults["lr"] == 0.01


@every_network
def test_the_optimizer_of_every_network_is_adam_in_python_and_in_configurations(network, sizes):
    optimizer = network(**sizes).configure_optimizers()
    assert (type(optimizer), optimizer.defaults["lr"]) == (torch.optim.Adam, 1e-3)
    _, config = parse([("class_path", f"lit_models.{network.__name__}")])
    assert config.model.init_args.optimizer.class_path == "torch.optim.Adam"
    assert config.model.init_args.optimizer.init_args.lr == 1e-3


def test_a_resolved_configuration_is_plain_yaml_and_parses_again():
    arguments = [
        ("class_path", "lit_models.ConvNet"),
        ("init_args.filters", [8, 16]),
        ("init_args.kernel_size", [5, 3]),
        ("init_args.padding", 1),
    ]
    parser, config = parse(arguments)
    text = parser.dump(config)
    init_args = yaml.safe_load(text)["model"]["init_args"]  # safe_load takes no tuples
    assert (init_args["filters"], init_args["kernel_size"], init_args["padding"]) == ([8, 16], [5, 3], 1)
    assert init_args["hidden"] == []
    assert parser.dump(parser.parse_string(text)) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [("activation", "rleu"), ("init", "kaiming"), ("hidden", "[1.5]"), ("dropout", "much"), ("batch_norm", "3")],
)
def test_configurations_are_checked_by_type(key, value):
    with pytest.raises(Exception, match=key):
        parse([("class_path", "lit_models.MLP"), (f"init_args.{key}", value)])


# --- metrics of an epoch ---


class Two(Sized):
    """Data module with three batches each for validation and test, the last one smaller."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        draws = torch.Generator().manual_seed(0)
        inputs = torch.randn(21, 2, generator=draws)
        self.split = TensorDataset(inputs, (inputs[:, 0] + torch.randn(21, generator=draws) > 0).long())

    def val_dataloader(self):
        return DataLoader(self.split, batch_size=8)

    test_dataloader = val_dataloader


class Grouped(MLP):
    """MLP with another metric of an epoch, from further outputs of its steps."""

    def test_step(self, batch, batch_idx):
        return super().test_step(batch, batch_idx) | {"group": batch[0][:, 1] > 0, "name": "x", "sizes": torch.ones(2)}

    def epoch_metrics(self, split, outputs):
        if split == "val":
            return super().epoch_metrics(split, outputs)
        assert outputs.keys() == {"logits", "target", "group"}
        is_right = outputs["logits"].argmax(1) == outputs["target"]
        return {"test/worst_group": min(is_right[outputs["group"] == group].double().mean() for group in (0, 1))}


def logged_with(model, data):
    trainer = make_trainer()
    trainer.fit(model, datamodule=data)
    validated = dict(trainer.callback_metrics)
    return validated, trainer.test(model, datamodule=data, verbose=False)[0]


def test_f1_and_auroc_are_those_of_the_whole_split():
    data, model = Two(), MLP(hidden=[3])
    validated, found = logged_with(model, data)
    inputs, target = data.split.tensors
    logits = model.eval()(inputs).detach()
    expected = {
        "f1": f1_score(target, logits.argmax(1)),
        "auroc": roc_auc_score(target, logits[:, 1].double() - logits[:, 0].double()),
    }
    assert 0 < expected["f1"] < 1
    assert 0 < expected["auroc"] < 1
    for name, value in expected.items():
        assert found[f"test/{name}"] == pytest.approx(value, rel=1e-6)
        assert validated[f"val/{name}"].item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_epoch_measures_nothing_of_an_interrupted_one(split):
    model, data = MLP(hidden=[3]), Two()
    logged_with(model, data)
    left = {"logits": torch.zeros(5, 2), "target": torch.ones(5, dtype=torch.int64)}
    model._outputs = [left]
    trainer = make_trainer()
    (found,) = (trainer.validate if split == "val" else trainer.test)(model, datamodule=data, verbose=False)
    inputs, target = data.split.tensors
    logits = model.eval()(inputs).detach()
    assert found[f"{split}/f1"] == pytest.approx(f1(logits, target).item())
    assert found[f"{split}/auroc"] == pytest.approx(auroc(logits, target).item())
    assert model._outputs == []


def test_other_than_two_classes_have_neither():
    data = Two()
    data.num_classes = 3
    validated, found = logged_with(MLP(hidden=[3]), data)
    assert validated.keys() == {"train/loss", "train/acc", "val/loss", "val/acc"}
    assert found.keys() == {"test/loss", "test/acc"}


def test_a_subclass_defines_metrics_of_an_epoch():
    validated, found = logged_with(Grouped(hidden=[3]), Two())
    assert validated.keys() >= {"val/f1", "val/auroc"}
    assert found.keys() == {"test/loss", "test/acc", "test/worst_group"}


class OwnOutputs(MLP):
    def test_step(self, batch, batch_idx):
        super().test_step(batch, batch_idx)
        return {"logits": self(batch[0])}


def test_without_logits_and_targets_nothing_is_measured():
    _, found = logged_with(OwnOutputs(hidden=[3]), Two())
    assert found.keys() == {"test/loss", "test/acc"}


@every_network
def test_a_schedule_of_the_learning_rate_can_be_named(network, sizes):
    arguments = [
        ("class_path", f"lit_models.{network.__name__}"),
        *((f"init_args.{name}", size) for name, size in sizes.items()),
        (
            "init_args.lr_scheduler",
            "{class_path: torch.optim.lr_scheduler.StepLR, init_args: {step_size: 2, gamma: 0.5}}",
        ),
    ]
    parser, config = parse(arguments)
    scheduler = parser.instantiate(config).model.configure_optimizers()["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(3):
        rates += scheduler.get_last_lr()
        scheduler.optimizer.step()
        scheduler.step()
    assert rates == [1e-3, 1e-3, 5e-4]


@pytest.mark.parametrize(("named", "expected"), [({}, "val/loss"), ({"monitor": "val/acc"}, "val/acc")])
def test_a_plateau_scheduler_monitors_the_validation_loss_by_default(named, expected):
    plateau = partial(ReduceLROnPlateau, **named) if named else partial(torch.optim.lr_scheduler.ReduceLROnPlateau)
    model = MLP(lr_scheduler=plateau, input_shape=(4,), num_classes=2)
    assert model.configure_optimizers()["lr_scheduler"]["monitor"] == expected
