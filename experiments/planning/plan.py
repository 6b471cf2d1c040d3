"""Plan of a study: every distinct cell is checked, resolved and built once, and each trial gets its identity.

This imports torch and the user's classes, so a worker does it and the command starts fast.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning.pytorch import LightningDataModule

from experiments.config.instantiate import clear_caches, find_problems, make_data, make_model, resolve
from experiments.config.parse_cache import Section
from experiments.errors import Problem, StudyError
from experiments.mechanisms.claimed_metrics import Layers, describe_layers, find_claim_problems, find_metric_problems
from experiments.study.design import Cell, build_cells
from experiments.study.study import SECTIONS, Study
from experiments.trials.trial import Plan, Trial, create_trials

from .data_info import describe_data, label_notes
from .problems import describe_failure, find_duplicates, raise_problems

_Sections = Mapping[str, Section]  # of a cell, by kind
_MakeData = Callable[[Section], LightningDataModule | None]


def plan_trials(study: Study) -> list[Trial]:
    """Return the trials of `plan_study` without the rest of the plan."""
    return list(plan_study(study).trials)


def plan_study(study: Study, emit: Callable[[Any], None] | None = None) -> Plan:  # noqa: ARG001 -- a runner's form
    """Return all trials of a study, cell by cell and then by seed, and facts about its data.

    Each data module is built as for the first seed, and its `prepare_data` is called once, so that data are downloaded
    before training begins, and a folder that cannot be read is one problem of the study and not one of each trial.
    Optional methods are called: a data module's `notes()`, sentences for readers of the report; its `fingerprints()`,
    hashes that show when data have changed; and a model's `check_data(data)`, which raises if it cannot train on them.

    Raises:
        StudyError: with every problem of every cell, each with the key or the level that causes it.
    """
    clear_caches()  # classes may have been redefined since the last plan
    cells = build_cells(study)
    sections = [{kind: Section.of(kind, cell.config.get(kind)) for kind in SECTIONS} for cell in cells]
    raise_problems(study, cells, [[p for each in of.values() for p in find_problems(each)] for of in sections])

    seed = study.seeds[0]
    make_data_once = functools.lru_cache(maxsize=1)(_make_data)  # one, as it may hold all its data
    infos, building_problems = {}, {}
    for data in dict.fromkeys(of["data"] for of in sections):
        infos[data] = info = describe_data(data, seed)
        for model in dict.fromkeys(of["model"] for of in sections if of["data"] == data):
            found = _building_problem(model, data, make_data_once) if info.problem is None else info.problem
            building_problems[model, data] = [] if found is None else [found]
    raise_problems(study, cells, [building_problems[of["model"], of["data"]] for of in sections])
    _raise_claim_problems(study, cells, sections, make_data_once)

    configs = [{kind: resolve(section) for kind, section in of.items()} for of in sections]
    trials = [create_trials(config, cell.levels, study.seeds) for cell, config in zip(cells, configs, strict=True)]
    raise_problems(study, cells, find_duplicates(cells, [of_cell[0].config_id for of_cell in trials]))
    return Plan(
        trials=tuple(trial for of_cell in trials for trial in of_cell),
        notes=label_notes(study, cells, [infos[of["data"]] for of in sections]),
        fingerprints={source: digest for info in infos.values() for source, digest in info.fingerprints.items()},
    )


def _building_problem(model_section: Section, data_section: Section, make_data_of: _MakeData) -> Problem | None:
    """Return why a model cannot be built or trained on its data, in the words of its error; None if it can."""
    config = {"model": resolve(model_section)}
    action = "be built"
    try:
        data = make_data_of(data_section)
        model = make_model(config, data)
        action = "train on its data"
        check = getattr(model, "check_data", None)
        if data is not None and callable(check):
            check(data)
    except Exception as error:  # noqa: BLE001 -- a user's class may raise anything
        return Problem(where="model", what=describe_failure(config["model"]["class_path"], action, error))
    return None


def _raise_claim_problems(
    study: Study, cells: Sequence[Cell], sections: Sequence[_Sections], make_data_of: _MakeData
) -> None:
    """Raise the claims on layers that do not exist. Networks are built once more, only if there are such claims."""
    of_cell = dict(zip(map(str, cells), sections, strict=True))

    @functools.cache
    def layers(model: Section, data: Section) -> Layers | None:
        return describe_layers(make_model({"model": resolve(model)}, make_data_of(data)))

    def layers_of_cell(cell: Cell) -> Layers | None:
        return layers(of_cell[str(cell)]["model"], of_cell[str(cell)]["data"])

    if problems := find_metric_problems(study, cells) or find_claim_problems(study, cells, layers_of_cell):
        raise StudyError(study.source, problems)


def _make_data(section: Section) -> LightningDataModule | None:
    """Build the data module that models take arguments from, as fresh as it is in training."""
    return make_data({"data": resolve(section)})
