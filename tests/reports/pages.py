"""Reports with everything in them, for the tests of what is drawn and written. Nothing is computed that is asserted."""

from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.trial import DIVERGED
from reports import Report, build_report

from .make import make_ledger, make_result, make_study

HOSTILE = ["<script>alert(1)</script>", "a\"b'c & d", "50%_$x$ #1 {y} ~^\\"]
CLAIMS = {
    "ok": {"factor": "activation", "better": "relu", "than": "sigmoid", "says": "ReLU is better."},
    "no": {"factor": "activation", "better": "sigmoid", "than": "tanh", "says": "Sigmoid is better."},
}


def measure(levels, seed):
    """Some spread, some effect, curves of both splits; one trial of six diverges in seed 4."""
    draw = np.random.default_rng([seed, *map(ord, "".join(levels.values()))]).normal()
    if seed == 4 and "relu" in levels.values() and "he" in levels.values():
        return make_result(status=DIVERGED)
    size = 0.9 + 0.01 * len(next(iter(levels.values()))) / 7 + 0.01 * np.sin(seed) + draw / 300
    epochs = tuple(
        {
            f"{split}/{kind}": value
            for split in ("train", "val")
            for kind, value in (("loss", 1 / (2 + epoch + seed)), ("acc", 1 - 1 / (2 + epoch)))
        }
        for epoch in range(4)
    )
    return make_result(size, epochs=epochs, metrics={"test/acc": size, "test/loss": 1 - size})


def full_report(directory, **changes) -> Report:
    """A report of two factors with every optional table filled by hand."""
    study = make_study(**({"metric": {"name": "test/acc", "margin": 0.01}, "claims": CLAIMS} | changes))
    report = build_report(make_ledger(directory, study, measure))
    one, other = study.factors
    numbers = {"n": 5, "mean_difference": 0.01, "ci_low": -0.01, "ci_high": 0.03}
    extra = {"seed_correlation": 0.7, "wins": 4, "losses": 1, "ties": 0, "hedges_g": 0.8, "sign_flip_p": 0.0625}
    extra |= {
        "sign_flip_floor": 0.0625,
        "bootstrap_low": np.nan,
        "bootstrap_high": np.nan,
        "mde": 0.02,
        "more_seeds": 7.0,
    }
    names = {"factor_a": one.name, "level_a": one.level_names[1], "reference_a": one.reference}
    names |= {"factor_b": other.name, "level_b": other.level_names[1], "reference_b": other.reference}
    bands = [
        {"factor": one.name, "level": level, "reference": one.reference, "metric": "val/acc", "epoch": epoch, **numbers}
        for level in one.level_names[1:]
        for epoch in range(4)
    ]
    sources = [one.name, other.name, f"{one.name} × {other.name}", "seed", "residual"]
    return replace(
        report,
        contrasts=report.contrasts.assign(**extra),
        interactions=pd.DataFrame(
            [
                names
                | {"metric": "test/acc"}
                | numbers
                | {
                    "p_value": 0.2,
                    "p_adjusted": 0.4,
                    "verdict": "undecided",
                    "sentence": f"{one.name} and {other.name} may interact: +0.010.",
                }
            ]
        ),
        shares=pd.DataFrame(
            {
                "source": sources,
                "sum_of_squares": 0.1,
                "df": 2.0,
                "share": [0.5, 0.1, 0.1, 0.2, 0.1],
                "partial_omega_squared": 0.3,
            }
            | {
                "share_low": [0.4, 0.0, 0.0, 0.1, np.nan],
                "share_high": [0.6, 0.2, 0.2, 0.3, np.nan],
                "f": 3.0,
                "p_value": 0.03,
            }
        ),
        outcome_rates=pd.DataFrame(
            {one.name: [one.reference], other.name: [other.reference], "n": [5], "diverged": [1], "failed": [0]}
            | {"rate": [0.2], "rate_low": [0.036], "rate_high": [0.624]}
        ),
        bands=pd.DataFrame(bands),
        thresholds=pd.DataFrame(
            {
                one.name: [one.reference],
                other.name: [other.reference],
                "metric": ["val/acc"],
                "threshold": [0.9],
                "n": [5],
            }
            | {"reached": [4], "median_epoch": [3.0]}
        ),
        audit=pd.DataFrame({"item": ["Balance"], "finding": ["Every cell has 5 seeds."]}),
        scope="Intervals cover re-training on this split.",
    )


def hostile_report(directory) -> Report:
    """The same with names that mean something in HTML, LaTeX and mathematics."""
    name = HOSTILE[0].replace("(1)", "")
    return full_report(
        directory,
        name='x"><script>alert(2)',
        question="</title><script>alert(3)</script> & _%$",
        factors={
            name: {"key": "model.init_args.activation", "levels": HOSTILE},
            "init & <b>": {"key": "model.init_args.init", "levels": ["</svg><script>alert(4)</script>", "$\\frac{x}$"]},
        },
        claims={
            "c": {"factor": name, "better": HOSTILE[1], "than": HOSTILE[0], "says": "<img src=x onerror=alert(5)>"}
        },
    )
