"""Where a claim was put to the test, in a few words: the metric, the data and the model."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from experiments.study.study import Claim, Study


def metric_of(study: Study, claim: Claim) -> str:
    """The name of what decides a claim."""
    return (claim.metric or study.metric).name


def data_of(study: Study) -> str:
    """The data module's class, and what it reads where that is named: "Sentiment (restaurant_reviews)".

    A section that a factor varies as a whole is told by the factor.
    """
    return _section(study, "data", _data_detail)


def model_of(study: Study) -> str:
    """The model's class, with its hidden layers where all cells share them: "MLP 128-128-128"."""
    return _section(study, "model", _model_detail)


def contrast_of(claim: Claim) -> str:
    """What is compared: "activation: relu − sigmoid", and the two contexts of a claim on an interaction."""
    where = ", ".join(f"{factor}={level}" for factor, level in claim.where)
    text = f"{claim.factor}: {claim.better} − {claim.than}" + (where and f", where {where}")
    if claim.under is None or claim.than_under is None:
        return text
    return f"{text}, under {'='.join(claim.under)} more than under {'='.join(claim.than_under)}"


def _section(study: Study, section: str, detail: Any) -> str:
    varied = {key: factor.name for factor in study.factors for level in factor.levels for key in level.changes}
    if section in varied or f"{section}.class_path" in varied:
        return f"by {varied.get(section) or varied[f'{section}.class_path']}"
    content = study.base.get(section)
    if isinstance(content, str):
        content = {"class_path": content}
    if not isinstance(content, dict):
        return ""
    name = str(content.get("class_path", "")).rpartition(".")[2]
    arguments = content.get("init_args") or {}
    kept = {key: value for key, value in arguments.items() if f"{section}.init_args.{key}" not in varied}
    return f"{name} {detail(kept)}".strip()


def _data_detail(arguments: Mapping[str, Any]) -> str:
    files = arguments.get("files")
    if isinstance(files, dict):
        files = next(iter(files.values()), None)
    if isinstance(files, list):
        files = files[0] if files else None
    if isinstance(files, str):
        path = PurePosixPath(files)
        return f"({path.parent.name or path.name})"
    return f"({arguments['dataset']})" if isinstance(arguments.get("dataset"), str) else ""


def _model_detail(arguments: Mapping[str, Any]) -> str:
    hidden = arguments.get("hidden")
    if not isinstance(hidden, list) or not hidden:
        return ""
    sizes = [str(size) for size in hidden]
    return f"{len(sizes)} × {sizes[0]}" if len(sizes) > 1 and len(set(sizes)) == 1 else "-".join(sizes)
