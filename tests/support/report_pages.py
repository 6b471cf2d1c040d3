"""Reports with rows in every table, for the tests of figures and formats."""

import numpy as np
from make_ledger import make_ledger, make_result, make_study

from experiments.trials.trial import TrialStatus
from reports import Report, build_report

HOSTILE = ["<script>alert(1)</script>", "a\"b'c & d", "50%_$x$ #1 {y} ~^\\"]
CLAIMS = {
    "ok": {"factor": "activation", "better": "relu", "than": "sigmoid", "says": "ReLU is better."},
    "no": {"factor": "activation", "better": "sigmoid", "than": "tanh", "says": "Sigmoid is better."},
}


def measure(levels, seed):
    """Return a result with noise, an effect and curves of both splits; one trial of six diverges in seed 4."""
    draw = np.random.default_rng([seed, *map(ord, "".join(levels.values()))]).normal()
    if seed == 4 and "relu" in levels.values() and "he" in levels.values():
        return make_result(status=TrialStatus.DIVERGED)
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
    """Build a report of two factors, with rows in every table."""
    study = make_study(**({"metric": {"name": "test/acc", "margin": 0.01}, "claims": CLAIMS} | changes))
    report = build_report(make_ledger(directory, study, measure))
    assert not any(
        frame.empty
        for frame in (
            report.interactions,
            report.variance_shares,
            report.outcome_rates,
            report.curve_differences,
            report.thresholds,
        )
    )
    return report


def hostile_report(directory) -> Report:
    """Build a report whose names have special characters of HTML, LaTeX and mathematics."""
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
