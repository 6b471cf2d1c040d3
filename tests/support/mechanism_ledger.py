"""Ledgers of networks of several depths with metrics of mechanisms."""

import math
import random

from make_ledger import make_ledger, make_result, make_study

SHRINK = {"sigmoid": 0.2, "relu": 0.95}  # the gradient, from a layer to the one below it
PER_LAYER = (
    *("weight_gradient", "activation_gradient", "saturated", "activation_std", "activation_mean"),
    *("activation_q05", "activation_q50", "activation_q95", "activation_drift", "dead", "update_ratio", "weight_norm"),
)


def depth_study(depths=(2, 4), activations=("sigmoid", "relu"), **changes):
    """Make a study of activation x depth, with the first levels as references; 3 seeds, test/acc."""
    factors = {
        "activation": {"key": "model.init_args.activation", "levels": list(activations)},
        "depth": {"key": "model.init_args.depth", "levels": list(depths)},
    }
    return make_study(**({"factors": factors, "seeds": 3} | changes))


def layers_of(depth):
    """Return the layers from input to output, which is neither alphabetical nor numerical order."""
    return ["stem", *(f"block{number}" for number in range(2, depth + 1)), "head"]


def epoch_of(levels, seed, epoch, quantities=PER_LAYER):
    """Return the metrics of an epoch: each quantity by layer, then ratios and gaps."""
    layers = layers_of(int(levels.get("depth", 2)))
    shrink = SHRINK.get(levels.get("activation"), 0.9)
    chance = random.Random(f"{levels}{seed}{epoch}")
    metrics = {"train/loss": 1 / (1 + epoch), "val/acc": 0.5 + 0.01 * epoch + seed / 100}
    for quantity in quantities:
        for position, layer in enumerate(layers):
            above = len(layers) - 1 - position
            noise = math.exp(0.1 * chance.gauss(0, 1))
            metrics[f"mechanism/{quantity}/{layer}"] = {
                "weight_gradient": 0.1 * shrink**above * noise,
                "activation_gradient": 0.2 * shrink**above * noise,
                "saturated": min(0.1 * position * noise, 1),
                "dead": 0.0 if position else 0.25,
                "activation_std": 0.1 * noise,
                "activation_mean": 0.3 * (-1) ** position * noise,
                "activation_q05": -1.0 - 0.1 * epoch,
                "activation_q50": 0.1 * epoch,
                "activation_q95": 1.0 + 0.1 * epoch,
                "activation_drift": 0.05 * epoch,
                "update_ratio": 1e-3 * noise,
                "weight_norm": 5 + position + epoch,
            }[quantity]
    metrics["mechanism/weight_gradient_ratio"] = shrink ** (len(layers) - 1) * math.exp(0.1 * chance.gauss(0, 1))
    metrics["gap/acc"] = 0.01 * epoch
    return metrics


def measure(levels, seed, num_epochs=3, quantities=PER_LAYER):
    """Return the result of a finished trial, whose final metrics are those of its last epoch."""
    epochs = tuple(epoch_of(levels, seed, epoch, quantities) for epoch in range(num_epochs))
    return make_result(epochs=epochs, metrics={**epochs[-1], "test/acc": epochs[-1]["val/acc"]})


def inside_ledger(directory, study=None, **options):
    """Make the folder of `depth_study` with the results of `measure`."""
    return make_ledger(directory, study or depth_study(), lambda levels, seed: measure(levels, seed, **options))
