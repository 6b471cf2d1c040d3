"""Ledgers of networks of several depths that tell what happens inside them, for the tests of mechanisms."""

import math
import random

from make_ledger import make_ledger, make_result, make_study

SHRINK = {"sigmoid": 0.2, "relu": 0.95}  # the gradient, from a layer to the one below it
PER_LAYER = (
    *("weight_gradient", "activation_gradient", "saturated", "activation_std", "activation_mean"),
    *("activation_q05", "activation_q50", "activation_q95", "activation_drift", "dead", "update_ratio", "weight_norm"),
)


def depth_study(depths=(2, 4), activations=("sigmoid", "relu"), **changes):
    """activation x depth, the first of each its reference; 3 seeds, test/acc."""
    factors = {
        "activation": {"key": "model.init_args.activation", "levels": list(activations)},
        "depth": {"key": "model.init_args.depth", "levels": list(depths)},
    }
    return make_study(**({"factors": factors, "seeds": 3} | changes))


def layers_of(depth):
    """As data flow through a network: not in alphabetical order, nor in that of numbers alone."""
    return ["stem", *(f"block{number}" for number in range(2, depth + 1)), "head"]


def epoch_of(levels, seed, epoch, quantities=PER_LAYER):
    """Metrics of an epoch as a trial tells them: layer by layer of each quantity, then ratios and gaps."""
    layers = layers_of(int(levels.get("depth", 2)))
    shrink = SHRINK.get(levels.get("activation"), 0.9)
    chance = random.Random(f"{levels}{seed}{epoch}")
    told = {"train/loss": 1 / (1 + epoch), "val/acc": 0.5 + 0.01 * epoch + seed / 100}
    for quantity in quantities:
        for place, layer in enumerate(layers):
            above = len(layers) - 1 - place
            noise = math.exp(0.1 * chance.gauss(0, 1))
            told[f"mechanism/{quantity}/{layer}"] = {
                "weight_gradient": 0.1 * shrink**above * noise,
                "activation_gradient": 0.2 * shrink**above * noise,
                "saturated": min(0.1 * place * noise, 1),
                "dead": 0.0 if place else 0.25,
                "activation_std": 0.1 * noise,
                "activation_mean": 0.3 * (-1) ** place * noise,
                "activation_q05": -1.0 - 0.1 * epoch,
                "activation_q50": 0.1 * epoch,
                "activation_q95": 1.0 + 0.1 * epoch,
                "activation_drift": 0.05 * epoch,
                "update_ratio": 1e-3 * noise,
                "weight_norm": 5 + place + epoch,
            }[quantity]
    told["mechanism/weight_gradient_ratio"] = shrink ** (len(layers) - 1) * math.exp(0.1 * chance.gauss(0, 1))
    told["gap/acc"] = 0.01 * epoch
    return told


def measure(levels, seed, num_epochs=3, quantities=PER_LAYER):
    """A finished trial whose final metrics are those of its last epoch."""
    epochs = tuple(epoch_of(levels, seed, epoch, quantities) for epoch in range(num_epochs))
    return make_result(epochs=epochs, metrics={**epochs[-1], "test/acc": epochs[-1]["val/acc"]})


def inside_ledger(directory, study=None, **options):
    """A folder of `depth_study` whose trials are `measure`."""
    return make_ledger(directory, study or depth_study(), lambda levels, seed: measure(levels, seed, **options))
