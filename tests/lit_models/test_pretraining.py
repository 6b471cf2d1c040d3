"""Pretraining of an MLP as stacked restricted Boltzmann machines, in stock Lightning."""

import copy

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from datamodules import Digits
from experiments.config.instantiate import make_model
from experiments.training.named_draws import NamedDraws
from lit_models import MLP, RBM, train_rbm
from lit_models.pretraining import _derive_seed, pretrain_layers
from lit_models.rbm import compute_visible_biases

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),  # the data are in memory
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated"),  # Lightning with torch 2.14
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
]


@pytest.fixture(autouse=True)
def no_seed_left(monkeypatch):
    """Restore the environment variables that seed_everything sets."""
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.setenv("PL_SEED_WORKERS", "0")


def deep(hidden=(30, 20), **options):
    return MLP(hidden=list(hidden), activation="sigmoid", init="rbm", pretraining_epochs=3, **options)


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(**({"accelerator": "cpu", "max_epochs": 1, "enable_model_summary": False} | quiet | options))


def digits(**options):
    return Digits(**({"batch_size": 100, "train_size": 200, "val_size": 100, "test_size": 100, "seed": 3} | options))


def fitted(model, data, **options):
    seed_everything(1, verbose=False)
    own = trainer(**options)
    own.fit(model, datamodule=data)
    return own


def start(model, data):
    """Return the state at the beginning of training, which a learning rate of 0 preserves."""
    model.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    fitted(model, data)
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_lightning_pretrains_before_it_trains_and_logs_how_well_layers_reconstruct():
    model = deep()
    assert model.is_pretraining_pending
    own = fitted(model, digits())
    errors = [own.callback_metrics[f"pretraining/reconstruction{number}"].item() for number in (1, 2)]
    assert errors == pytest.approx(model.reconstruction.tolist())
    assert all(0 < error < 0.25 for error in errors)  # 0.25 is that of saying a half for every binary unit
    assert not model.is_pretraining_pending


def test_other_inits_are_not_pretrained_and_log_nothing_of_it():
    model = MLP(hidden=[30, 20], activation="sigmoid", init="xavier")
    own = fitted(model, digits())
    assert model.reconstruction is None
    assert set(own.callback_metrics) == {"train/loss", "train/acc", "val/loss", "val/acc"}


def test_the_first_layer_equals_its_machine_on_rescaled_inputs():
    """From standardised inputs or from pixels, the network becomes the same function of the image."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(300, 6, generator=generator)
    pixels[0, 0], pixels[1, 1] = 0.0, 1.0
    standardised = (pixels - 0.3) / 0.25

    def pretrained(inputs):
        torch.manual_seed(0)
        layers = [nn.Linear(6, 5), nn.Linear(5, 4)]
        errors = pretrain_layers("MLP", layers, inputs, epochs=5, lr=0.1, seed=0)
        return nn.Sequential(layers[0], nn.Sigmoid(), layers[1])(inputs), errors

    (of_pixels, errors), (of_standardised, same_errors) = pretrained(pixels), pretrained(standardised)
    torch.testing.assert_close(of_pixels, of_standardised, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(errors, same_errors)


def test_each_layer_learns_from_the_probabilities_below_it():
    """The second layer equals a machine trained separately on the outputs of the first."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(200, 6, generator=generator)
    inputs[0, 0], inputs[1, 1] = 0.0, 1.0  # what they span already: no scaling
    layers = [nn.Linear(6, 5), nn.Linear(5, 4)]
    first, second = copy.deepcopy(layers)
    errors = pretrain_layers("MLP", layers, inputs, epochs=4, lr=0.1, seed=0)
    pretrain_layers("MLP", [first], inputs, epochs=4, lr=0.1, seed=0)
    assert torch.equal(first.weight, layers[0].weight)  # a further layer leaves those below as they were
    assert torch.equal(first.bias, layers[0].bias)
    with torch.no_grad():
        hidden = first(inputs).sigmoid()
        rbm = RBM(weight=second.weight, hidden_bias=second.bias, visible_bias=compute_visible_biases(hidden))
        train_rbm(rbm, hidden, epochs=4, lr=0.1, generator=torch.Generator().manual_seed(_derive_seed(0, 2)))
    torch.testing.assert_close(rbm.weight, layers[1].weight)
    torch.testing.assert_close(rbm.hidden_bias, layers[1].bias)
    assert errors[1].item() == pytest.approx(rbm.reconstruction_error(hidden), rel=1e-5)


def test_the_same_seed_gives_the_same_start_and_another_seed_another():
    def state(seed):
        seed_everything(seed, verbose=False)
        model = deep(input_shape=(1, 8, 8), num_classes=10)
        return start(model, digits())

    first, second, other = state(0), state(0), state(5)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["layers.linear1.weight"], other["layers.linear1.weight"])


def test_the_output_layer_starts_as_with_xavier():
    config = {"class_path": "lit_models.MLP", "init_args": {"hidden": [30, 20], "activation": "sigmoid"}}
    sizes = {"input_shape": [1, 8, 8], "num_classes": 10}

    def named(init):
        model = {**config, "init_args": {**config["init_args"], **sizes, "init": init}}
        return NamedDraws(4).build(lambda: make_model({"model": model}, digits()))

    xavier, rbm = named("xavier"), named("rbm")
    assert torch.equal(xavier.layers.output.weight, rbm.layers.output.weight)
    assert torch.equal(xavier.layers.output.bias, rbm.layers.output.bias)
    assert rbm.layers.linear1.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert rbm.layers.linear2.bias.abs().max() == 0
    output = rbm.layers.output.weight.clone()
    assert torch.equal(start(rbm, digits())["layers.output.weight"], output)


def test_pretraining_draws_from_no_global_generator():
    torch.manual_seed(7)
    model = deep(input_shape=(1, 8, 8), num_classes=10)
    data = digits()
    data.setup()
    before = torch.get_rng_state()
    model.pretrain(data.pretraining_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_network_is_not_pretrained_again(tmp_path, monkeypatch):
    model = deep()
    own = fitted(model, digits(), max_epochs=1)
    own.save_checkpoint(tmp_path / "one.ckpt")
    monkeypatch.setattr("lit_models.mlp.pretrain_layers", lambda *_, **__: pytest.fail("pretrained again"))
    loaded = MLP.load_from_checkpoint(tmp_path / "one.ckpt", weights_only=True)
    assert torch.equal(loaded.reconstruction, model.reconstruction)
    assert not loaded.is_pretraining_pending
    fitted(loaded, digits())
    continued = deep()
    trainer(max_epochs=2).fit(continued, datamodule=digits(), ckpt_path=tmp_path / "one.ckpt", weights_only=True)
    assert torch.equal(continued.reconstruction, model.reconstruction)


def test_loaders_without_a_data_module_do_as_well():
    inputs, target = torch.rand(60, 12), torch.arange(60) % 3
    loader = DataLoader(TensorDataset(inputs, target), batch_size=20)
    model = deep(input_shape=(12,), num_classes=3)
    trainer().fit(model, train_dataloaders=loader)
    assert not model.is_pretraining_pending


class Counting(LightningDataModule):
    """Data module that counts the loaders it makes, and scales pixels on the device."""

    input_shape, num_classes = (6,), 2

    def __init__(self, pixels):
        super().__init__()
        self.pixels, self.num_asked = pixels, 0

    def train_dataloader(self):
        self.num_asked += 1
        return DataLoader(TensorDataset(self.pixels, torch.arange(len(self.pixels)) % 2), batch_size=10)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        inputs, target = batch
        return inputs.float() / 255, target


def test_pretraining_makes_the_training_loader_once():
    data = Counting(torch.randint(256, (40, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
    model = deep()
    fitted(model, data)
    assert data.num_asked == 1
    assert not model.is_pretraining_pending


def test_unlabelled_examples_are_seen_before_training_and_their_targets_never():
    few, many = start(deep(), digits()), start(deep(), digits(unlabelled_size=900))
    assert not torch.equal(few["layers.linear1.weight"], many["layers.linear1.weight"])
    model, data = deep(input_shape=(1, 8, 8), num_classes=10), digits(unlabelled_size=900)
    data.setup()
    seen = [(inputs, None) for inputs, _ in data.pretraining_dataloader()]
    assert sum(len(inputs) for inputs, _ in seen) == 1100
    model.pretrain(seen)
    assert not model.is_pretraining_pending


def test_any_depth():
    model = deep(hidden=(12, 10, 8, 6, 4), input_shape=(1, 8, 8), num_classes=10)
    data = digits()
    data.setup()
    model.pretrain(data.pretraining_dataloader())
    assert model.reconstruction.shape == (5,)
    assert model.reconstruction.isfinite().all()


REFUSED = [
    (
        {"hidden": []},
        "MLP: init is 'rbm', which pretrains hidden layers, and hidden is []; accepted: one or more",
    ),
    (
        {"activation": "relu"},
        (
            "MLP: init is 'rbm', whose hidden units are on with the probability that a sigmoid gives, and activation "
            "is 'relu'; accepted: activation 'sigmoid', or another init"
        ),
    ),
    (
        {"batch_norm": True},
        (
            "MLP: init is 'rbm', and batch_norm would undo the pretraining of the layers before it; accepted: "
            "batch_norm false, or another init"
        ),
    ),
    ({"pretraining_epochs": 0}, "MLP: pretraining_epochs is 0; accepted: an integer of at least 1"),
    ({"pretraining_lr": -1.0}, "MLP: pretraining_lr is -1.0; accepted: a number above 0"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_layers_that_differ_from_machines_raise(arguments, message):
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        MLP(**({"hidden": [8], "activation": "sigmoid", "init": "rbm"} | arguments))
    assert str(error.value) == message


BATCHES = [
    ([], ValueError, "MLP: init 'rbm' learns from training examples, and there are none"),
    (
        [(torch.zeros(4, 3), torch.zeros(4))],
        ValueError,
        "MLP: init 'rbm' learns from the inputs, which are all 0; accepted: finite inputs that differ",
    ),
    (
        [(torch.tensor([[0.0, 1.0, torch.nan]]), torch.zeros(1))],
        ValueError,
        "MLP: init 'rbm' learns from the inputs, which are not all finite; accepted: finite inputs that differ",
    ),
    (
        [{"inputs": torch.zeros(4, 3)}],
        TypeError,
        "MLP: init 'rbm' reads batches of (inputs, target), and found a dict where inputs are expected",
    ),
]


@pytest.mark.parametrize(("batches", "kind", "message"), BATCHES)
def test_unusable_pretraining_inputs_raise(batches, kind, message):
    with pytest.raises(kind) as error:
        deep(input_shape=(3,), num_classes=2).pretrain(batches)
    assert str(error.value) == message


def test_token_ids_are_refused():
    with pytest.raises(ValueError, match=r"^MLP: the inputs are torch.int64"):
        deep(input_shape=(3,), num_classes=2).pretrain([(torch.ones(4, 3, dtype=torch.int64), torch.zeros(4))])


def test_several_devices_are_refused(monkeypatch):
    model = deep()
    monkeypatch.setattr(Trainer, "world_size", 2)
    model.trainer = trainer()
    with pytest.raises(RuntimeError) as error:
        model.on_fit_start()
    assert str(error.value) == ("MLP: init 'rbm' pretrains on one device, and the trainer has 2; accepted: devices 1")


@pytest.mark.slow
def test_a_deep_sigmoid_network_learns_faster_from_machines_than_from_xavier():
    """Four layers of sigmoid units, ten epochs on 300 labelled digits."""

    def accuracy(**options):
        seed_everything(0, verbose=False)
        optimizer = lambda parameters: torch.optim.Adam(parameters, lr=3e-3)  # noqa: E731
        model = MLP(hidden=[50] * 4, activation="sigmoid", optimizer=optimizer, **options)
        data = digits(batch_size=20, train_size=300, unlabelled_size=900)
        own = fitted(model, data, max_epochs=10)
        return own.callback_metrics["val/acc"].item()

    xavier, rbm = accuracy(init="xavier"), accuracy(init="rbm", pretraining_epochs=30)
    assert rbm > xavier + 0.05, (xavier, rbm)
