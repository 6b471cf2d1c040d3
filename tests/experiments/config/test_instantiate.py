import pytest
import torch
from small_data import TinyTexts

from experiments.config.instantiate import LINKED, find_problems, make_model, resolve
from experiments.config.parse_cache import Section
from experiments.training.named_draws import NamedDraws


def built(class_path, data, **init_args):
    config = {"model": resolve(Section.of("model", {"class_path": class_path, "init_args": init_args}))}
    return NamedDraws(0).build(lambda: make_model(config, data))


def test_null_sizes_are_taken_from_the_data_module():
    assert LINKED == ("input_shape", "num_classes", "num_outputs", "vocabulary_size")
    model = built("lit_models.MeanEmbedding", TinyTexts(), embedding_size=4)
    assert {name: model.hparams[name] for name in LINKED if name in model.hparams} == {
        "input_shape": [12],
        "num_classes": 3,
        "vocabulary_size": 30,
    }
    assert model.layers.features.embedding.weight.shape == (30, 4)


def test_a_size_given_is_not_taken_from_the_data_module():
    model = built("lit_models.MeanEmbedding", TinyTexts(), embedding_size=4, vocabulary_size=50)
    assert model.layers.features.embedding.weight.shape == (50, 4)


def test_a_network_without_a_vocabulary_takes_none():
    model = built("lit_models.MLP", TinyTexts())
    assert "vocabulary_size" not in model.hparams


@pytest.mark.parametrize("init", ["default", "xavier"])
def test_networks_for_tokens_are_paired_by_parameter(init):
    one, two, gru = (
        built("lit_models.Recurrent", TinyTexts(), hidden_size=5, embedding_size=4, init=init, **arguments)
        for arguments in ({}, {"num_layers": 2, "dropout": 0.5, "forget_bias": 1.0}, {"cell": "gru"})
    )
    start = two.state_dict()
    for name, value in one.state_dict().items():
        if "recurrence.bias" not in name:  # of which forget_bias sets a part
            assert torch.equal(value, start[name]), name
    assert torch.equal(one.layers.features.embedding.weight, gru.layers.features.embedding.weight)
    assert torch.equal(one.layers.head.output.weight, gru.layers.head.output.weight)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("activation", "rleu", "is 'rleu'; did you mean 'relu'? accepted: identity, sigmoid, "),
        (
            "head",
            "softmx",
            "is 'softmx'; did you mean 'softmax'? accepted: softmax, sigmoid",
        ),  # the base takes it
        ("loss", "mes", "is 'mes'; did you mean 'mse'? accepted: cross_entropy, nll, mse, l1, bce"),  # of several types
        ("l1", "much", "is 'much'; "),
        ("loss", 3, "is 3; "),
    ],
)
def test_a_wrong_value_is_reported_with_what_is_accepted(argument, value, message):
    spec = {"class_path": "lit_models.MLP", "init_args": {argument: value}}
    (problem,) = find_problems(Section.of("model", spec))
    assert problem.where == f"model.init_args.{argument}"
    assert problem.what.startswith(message)
