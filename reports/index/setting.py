"""Setting of a claim in a few words: metric, data, model and contrast."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from experiments.study.study import Claim, Study


def get_metric_name(study: Study, claim: Claim) -> str:
    """Return the name of the metric of a claim."""
    return (claim.metric or study.metric).name


def describe_data(study: Study) -> str:
    """Return the class of the data module and its data set if named, as in "Sentiment (restaurant_reviews)".

    If a factor varies the whole section, return the name of the factor.
    """
    return _describe_section(study, "data", _describe_files)


def describe_model(study: Study) -> str:
    """Return the class of the model, with its hidden layers if all cells share them, as in "MLP 3 × 128"."""
    return _describe_section(study, "model", _describe_hidden_layers)


def describe_contrast(claim: Claim) -> str:
    """Return the contrast, as in "activation: relu − sigmoid", with both contexts of a claim on an interaction."""
    where = ", ".join(f"{factor}={level}" for factor, level in claim.where)
    text = f"{claim.factor}: {claim.better} − {claim.than}" + (where and f", where {where}")
    if claim.under is None or claim.than_under is None:
        return text
    return f"{text}, under {'='.join(claim.under)} more than under {'='.join(claim.than_under)}"


def _describe_section(study: Study, section: str, detail: Any) -> str:
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


def _describe_files(arguments: Mapping[str, Any]) -> str:
    files = arguments.get("files")
    if isinstance(files, dict):
        files = next(iter(files.values()), None)
    if isinstance(files, list):
        files = files[0] if files else None
    if isinstance(files, str):
        path = PurePosixPath(files)
        return f"({path.parent.name or path.name})"
    return f"({arguments['dataset']})" if isinstance(arguments.get("dataset"), str) else ""


def _describe_hidden_layers(arguments: Mapping[str, Any]) -> str:
    hidden = arguments.get("hidden")
    if not isinstance(hidden, list) or not hidden:
        return ""
    sizes = [str(size) for size in hidden]
    return f"{len(sizes)} × {sizes[0]}" if len(sizes) > 1 and len(set(sizes)) == 1 else "-".join(sizes)
