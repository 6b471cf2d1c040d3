"""Study as data: a question, a base configuration, factors with levels, a design, seeds, a metric and claims."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .mechanisms import MechanismsOptions

SECTIONS = ("model", "data", "trainer")
DESIGNS = ("full", "one_at_a_time")
GOALS = ("max", "min")
LINEAR, LOG = "linear", "log"
SCALES = (LINEAR, LOG)
LARGEST_SEED = 2**32 - 1  # what lightning.seed_everything and numpy accept


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One value of a factor: its name and the dotted keys that it sets."""

    name: str
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """Something that the study varies. `reference` names the level that the others are compared with."""

    name: str
    levels: tuple[Level, ...]
    reference: str

    @property
    def level_names(self) -> tuple[str, ...]:
        """Return the names in the order of the file."""
        return tuple(level.name for level in self.levels)

    def level(self, name: str) -> Level:
        """Return the level of this name.

        Raises:
            KeyError: when the factor has no such level.
        """
        for level in self.levels:
            if level.name == name:
                return level
        raise KeyError(f"factor {self.name!r} has no level {name!r}")


_SMALLER_IS_BETTER = {"loss", "losses", "error", "err", "mse", "rmse", "mae", "nll", "ce", "bce", "perplexity", "ppl"}
_LARGER_IS_BETTER = {"acc", "accuracy", "top1", "top5", "f1", "auc", "auroc", "ap", "map", "iou", "dice", "r2"}
_LARGER_IS_BETTER |= {"precision", "recall", "specificity", "sensitivity", "score", "bleu", "psnr", "ssim"}


def infer_goal(name: str) -> str | None:
    """Infer from the last part of a metric's name if more or less is better: "max", "min", or None if unknown.

    >>> [infer_goal(name) for name in ("val/loss", "val_top1_error", "loss/acc", "val/closs")]
    ['min', 'min', 'max', None]
    """
    words = set(name.rpartition("/")[2].lower().split("_"))
    if words & _SMALLER_IS_BETTER:
        return "min"
    return "max" if words & _LARGER_IS_BETTER else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Logged number that a study compares, with its goal, and the smallest difference that matters.

    goal: "max" or "min".
    margin: smallest difference that matters, in the metric's unit; None for none, and then no levels are equivalent.
    """

    name: str
    goal: str = "max"
    margin: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the metric as plain data, as in a study file."""
        plain: dict[str, Any] = {"name": self.name, "goal": self.goal}
        return plain if self.margin is None else plain | {"margin": self.margin}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim that level `better` of a factor is better than level `than`.

    says: the claim as a sentence.
    is_equality: the claim is instead that the two differ by less than the metric's margin.
    where: (factor, level) of other factors; the claim is on the cells with these levels, not on the mean over all.
    under, than_under: two (factor, level) of another factor, or None; the claim is then on the interaction, that
        `better` gains more against `than` under the first than under the second.
    metric: of this claim; None for the study's metric.
    scale: LOG compares logarithms; then differences and the metric's margin are factors.
    """

    name: str
    factor: str
    better: str
    than: str
    says: str
    is_equality: bool = False
    where: tuple[tuple[str, str], ...] = ()
    under: tuple[str, str] | None = None
    than_under: tuple[str, str] | None = None
    metric: Metric | None = None
    scale: str = LINEAR

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as plain data, as in a study file, without its name."""
        keys = ("equal", "to") if self.is_equality else ("better", "than")
        plain: dict[str, Any] = {"factor": self.factor, **dict(zip(keys, (self.better, self.than), strict=True))}
        if self.where:
            plain["where"] = dict(self.where)
        for key, cell in (("more_under", self.under), ("than_under", self.than_under)):
            if cell is not None:
                plain[key] = dict([cell])
        if self.metric is not None:
            plain["metric"] = self.metric.to_dict()
        if self.scale != LINEAR:
            plain["scale"] = self.scale
        return plain | {"says": self.says}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One question, and everything needed to answer it.

    folds: K of the data module's K-fold cross-validation, in which seed s tests on fold s mod K; None for none.
    chapter: chapter of a course, by which `ablate list` groups studies; None for none.
    minutes: expected duration of the whole study on two cores; None if unknown.
    mechanisms: quantities to measure inside the networks of every cell; None for none.
    source: file of the study, for messages.
    """

    name: str
    question: str
    base: Mapping[str, Any]
    factors: tuple[Factor, ...]
    design: str
    seeds: tuple[int, ...]
    metric: Metric
    exclude: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    claims: tuple[Claim, ...] = ()
    folds: int | None = None
    chapter: str | None = None
    minutes: float | None = None
    mechanisms: MechanismsOptions | None = None
    source: str = field(default="study", compare=False)

    def factor(self, name: str) -> Factor:
        """Return the factor of this name; raise StopIteration when there is none."""
        return next(factor for factor in self.factors if factor.name == name)

    @property
    def unit(self) -> str:
        """Return what the trials of a cell differ by, as a noun: seed or fold."""
        return "seed" if self.folds is None else "fold"

    @property
    def num_repetitions(self) -> int:
        """Return the number of cross-validations, each with another partition of the data; 0 without folds."""
        return 0 if self.folds is None else len({seed // self.folds for seed in self.seeds})

    @property
    def missing_folds(self) -> tuple[int, ...]:
        """Return the seeds missing from incomplete cross-validations."""
        if self.folds is None:
            return ()
        begun = sorted({seed // self.folds for seed in self.seeds})
        whole = (number * self.folds + fold for number in begun for fold in range(self.folds))
        return tuple(seed for seed in whole if seed not in self.seeds)

    def to_dict(self) -> dict[str, Any]:
        """Return the study as plain data, from which `parse_study` makes an equal study."""
        plain: dict[str, Any] = {"name": self.name, "question": self.question}
        plain |= {
            key: value for key, value in (("chapter", self.chapter), ("minutes", self.minutes)) if value is not None
        }
        plain["base"] = dict(self.base)
        plain["factors"] = {
            factor.name: {
                "levels": {level.name: dict(level.changes) for level in factor.levels},
                "reference": factor.reference,
            }
            for factor in self.factors
        }
        plain["design"] = self.design
        if self.exclude:
            plain["exclude"] = [{name: list(levels) for name, levels in rule.items()} for rule in self.exclude]
        if self.folds is not None:
            plain["folds"] = self.folds
        plain["seeds"] = list(self.seeds)
        plain["metric"] = self.metric.to_dict()
        if self.mechanisms is not None:
            plain["mechanisms"] = self.mechanisms.to_dict()
        if self.claims:
            plain["claims"] = {claim.name: claim.to_dict() for claim in self.claims}
        return plain


def format_value(value: Any) -> str:
    """Return a level's value as reports write it, which is as YAML would.

    >>> [format_value(value) for value in (0.5, True, None, [128, 64], "relu")]
    ['0.5', 'true', 'null', '[128, 64]', 'relu']
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(format_value(item) for item in value) + "]"
    return str(value)
