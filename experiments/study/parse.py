"""Parser of study files, which returns a Study or raises all problems at once.

Nothing here imports torch or the user's classes; config/instantiate.py checks what the classes accept.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from experiments.errors import InputError, Problem, StudyError
from experiments.text import describe_choices, join_names

from .claims import read_claims
from .config_keys import KeyPathError, apply_changes
from .mechanisms import MechanismsOptions, parse_mechanisms, report_double_callbacks
from .plain_data import find_non_plain
from .study import DESIGNS, LARGEST_SEED, SECTIONS, Factor, Level, Study, format_value
from .values import StudyReader

DEFAULT_SEEDS = 5
FEWEST_FOLDS = 2
MOST_SEEDS = 1_000_000
SHIPPED = resources.files("experiments.studies")
LONGEST_CHAPTER = 40  # characters; it is a heading of `ablate list`

_REPORT_COLUMNS = (
    *("trial_id", "seed", "status", "backend", "seconds", "num_parameters", "diverged_epoch", "attempts"),
    *("epoch", "metric", "context"),
)
_STUDY_KEYS = (
    *("name", "question", "base", "factors", "design", "exclude", "folds", "seeds", "metric", "claims"),
    *("chapter", "minutes", "mechanisms"),
)


def shipped_studies() -> dict[str, str]:
    """Return the shipped studies: name -> YAML text, in alphabetical order, quickstart first."""
    files = [file for file in SHIPPED.iterdir() if file.name.endswith(".yaml")]
    texts = {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}
    return dict(sorted(texts.items(), key=lambda item: (item[0] != "quickstart", item[0])))


def load_study(
    name_or_path: str | Path,
    *,
    seeds: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Study:
    """Load and check a shipped study or a YAML file.

    Args:
        name_or_path: a name of `ablate list`, or the path of a file, which wins where both exist.
        seeds: number of seeds to use instead of the file's.
        changes: dotted keys of the base configuration to set, as `--set` does.

    Raises:
        InputError: when there is no such study or file.
        StudyError: when the file has problems; the message lists all of them.

    >>> load_study("quickstart", seeds=2).seeds
    (0, 1)
    """
    path = Path(name_or_path)
    shipped = shipped_studies()
    if path.suffix in {".yaml", ".yml"} or _is_file(path):
        try:
            text, source, name = path.read_text(encoding="utf-8"), str(path), path.stem
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as a study file: {error}") from error
    elif str(name_or_path) in shipped:
        name = str(name_or_path)
        text, source = shipped[name], f"studies/{name}.yaml"
    else:
        hint = describe_choices(name_or_path, shipped, "shipped")
        raise InputError(
            f"there is no study {str(name_or_path)!r}{hint}{'' if hint.endswith('?') else '.'} `ablate list` shows the "
            "shipped ones; your own study is a path that ends in .yaml."
        )
    content = parse_yaml(text, source)
    if seeds is not None and isinstance(content, dict):
        content["seeds"] = seeds
    return parse_study(content, source=source, name=name, changes=changes)


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML 1.2 text to plain data; raise StudyError with line and column when it is invalid."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise StudyError(source, [Problem(where="", what=f"is not valid YAML: {_summarize(error)}")]) from error
    except (ValueError, RecursionError) as error:  # such as an impossible date
        raise StudyError(source, [Problem(where="", what=f"is not valid YAML: {error}")]) from error


def parse_study(
    content: Any, *, source: str = "study", name: str = "study", changes: Mapping[str, Any] | None = None
) -> Study:
    """Parse the plain data of a study file.

    Args:
        content: of the YAML file.
        source: of the content, for messages.
        name: of the study where the file gives none.
        changes: dotted keys of the base configuration to set, as `--set` does.

    Raises:
        StudyError: with every problem of the content.
    """
    return _Parser(source, name).read_study(content, changes or {})


class _Parser(StudyReader):
    """Reader of one study, which collects its problems."""

    def __init__(self, source: str, name: str) -> None:
        super().__init__()
        self.source = source
        self.name = name

    def read_study(self, content: Any, changes: Mapping[str, Any]) -> Study:
        if not isinstance(content, dict):
            found = "is empty" if content is None else f"holds {type(content).__name__}"
            raise StudyError(
                self.source, [Problem(where="", what=f"{found}; a study is a mapping with {join_names(_STUDY_KEYS)}")]
            )
        self.check_keys("", content, _STUDY_KEYS)
        for key in ("question", "base", "factors", "metric"):
            if key not in content:
                self.add_problem(key, "is missing")
        odd = {key: find_non_plain(key, content.get(key)) for key in ("base", "factors")}
        for key, what in odd.items():
            if what is not None:
                self.add_problem(key, f"holds {what}")
        if any(odd.values()):
            raise StudyError(self.source, self.problems)
        base = self.read_base(content.get("base", {}), changes)
        factors = self.read_factors(content.get("factors", {})) if "factors" in content else ()
        self.check_shared_keys(factors)
        self.check_changed_keys(factors, changes)
        self.check_key_paths(base, factors)
        folds = self.read_folds(content.get("folds"), base, factors, changes)
        metric = self.read_metric(content.get("metric", {"name": ""}))
        study = Study(
            name=self.read_text("name", content.get("name", self.name)),
            question=self.read_text("question", content.get("question", "")),
            base=base,
            factors=factors,
            design=self.read_choice("design", content.get("design", "full"), DESIGNS),
            seeds=self.read_seeds(content.get("seeds", folds or DEFAULT_SEEDS)),
            metric=metric,
            exclude=self.read_exclude(content.get("exclude") or [], factors),
            claims=read_claims(self, content.get("claims") or {}, factors, content.get("design", "full"), metric),
            folds=folds,
            chapter=self.read_chapter(content.get("chapter")),
            minutes=self.read_positive("minutes", content.get("minutes"), "a positive number of minutes"),
            mechanisms=self.read_mechanisms(content.get("mechanisms"), base, factors),
            source=self.source,
        )
        if not set(study.name).isdisjoint("/\\\0") or study.name in {"", ".", ".."}:
            self.add_problem("name", f"{study.name!r} cannot be the name of a folder")
        if self.problems:
            raise StudyError(self.source, self.problems)
        return study

    def read_chapter(self, value: Any) -> str | None:
        if value is None:
            return None
        chapter = self.read_text("chapter", value)
        if isinstance(value, str) and not 0 < len(chapter) <= LONGEST_CHAPTER:
            self.add_problem(
                "chapter", f"is {value!r}; a short text, of 1 to {LONGEST_CHAPTER} characters, is expected"
            )
        return chapter

    def read_base(self, value: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
        if not self.check_type("base", value, dict, f"a LightningCLI configuration with {join_names(SECTIONS)}"):
            return {}
        if "seed_everything" in value:
            self.add_problem("base.seed_everything", "is set by the suite; give the seeds under `seeds`")
        self.check_keys("base", {key: 0 for key in value if key != "seed_everything"}, SECTIONS)
        for key in changes:
            self.check_config_key(f"--set {key}", key)
        try:
            return apply_changes(value, changes.items())
        except KeyPathError as error:
            self.add_problem("--set", str(error))
            return dict(value)

    def check_config_key(self, where: str, key: Any) -> None:
        sections = [f"{section}." for section in SECTIONS]
        if not isinstance(key, str) or not (key in SECTIONS or key.startswith(tuple(sections))) or ".." in key:
            self.add_problem(where, f"{key!r} is not a key of the configuration; it begins with {join_names(sections)}")

    def read_factors(self, value: Any) -> tuple[Factor, ...]:
        if not isinstance(value, dict) or not value:
            self.add_problem("factors", "names no factor; a mapping of name to {key, levels, reference} is expected")
            return ()
        factors = []
        for name, entry in value.items():
            where = f"factors.{name}"
            if not isinstance(name, str) or not name:
                self.add_problem(where, f"{name!r} is not a name; put it in quotes")
            elif name in _REPORT_COLUMNS:
                self.add_problem(where, f"{name!r} is a column of every report; choose another name")
            if self.check_type(where, entry, dict, "{key, levels, reference}"):
                factors.append(self.read_factor(where, str(name), entry))
        return tuple(factors)

    def read_factor(self, where: str, name: str, entry: dict[str, Any]) -> Factor:
        self.check_keys(where, entry, ("key", "levels", "reference"))
        key = entry.get("key")
        if "key" in entry:
            self.check_config_key(f"{where}.key", key)
        levels = self.read_levels(f"{where}.levels", key, entry.get("levels"))
        names = [level.name for level in levels]
        for level_name in sorted({level for level in names if names.count(level) > 1}):
            self.add_problem(f"{where}.levels", f"{level_name!r} is given twice")
        for position, level in enumerate(levels):
            same = [other.name for other in levels[:position] if _is_equal(other.changes, level.changes)]
            if same and same[0] != level.name:
                self.add_problem(f"{where}.levels", f"{level.name!r} and {same[0]!r} are the same level")
        reference = format_value(entry["reference"]) if "reference" in entry else (names[0] if names else "")
        if names and reference not in names:
            self.add_problem(
                f"{where}.reference", f"{reference!r} is not a level{describe_choices(reference, names, 'levels')}"
            )
        return Factor(name=name, levels=levels, reference=reference)

    def read_levels(self, where: str, key: Any, value: Any) -> tuple[Level, ...]:
        if not value or not isinstance(value, dict | list):
            found = "is missing or empty" if not value else f"is {value!r}"
            self.add_problem(where, f"{found}; a list of values, or a mapping of names, is expected")
            return ()
        if len(value) < 2:  # noqa: PLR2004 -- one level cannot be compared with anything
            self.add_problem(where, "has one level; a factor needs at least two")
        if isinstance(value, dict):
            return tuple(
                self.read_named_level(where, key, format_value(name), content) for name, content in value.items()
            )
        if key is None:
            self.add_problem(where, "is a list; the factor needs a `key` that takes these values")
            return ()
        for item in value:
            if isinstance(item, dict):
                self.add_problem(where, f"{item!r} needs a name: write levels as a mapping of name to value")
        return tuple(Level(name=format_value(item), changes={str(key): item}) for item in value)

    def read_named_level(self, where: str, key: Any, name: str, content: Any) -> Level:
        if key is not None:
            return Level(name=name, changes={str(key): content})
        if not isinstance(content, dict):
            self.add_problem(
                f"{where}.{name}", f"is {content!r}; without `key`, a level is a mapping of dotted keys to values"
            )
            return Level(name=name, changes={})
        for changed in content:
            self.check_config_key(f"{where}.{name}", changed)
        return Level(name=name, changes={str(changed): item for changed, item in content.items()})

    def check_shared_keys(self, factors: Sequence[Factor]) -> None:
        owner: dict[str, str] = {}
        for factor in factors:
            for key in {key for level in factor.levels for key in level.changes}:
                if key in owner:
                    self.add_problem(f"factors.{factor.name}", f"sets {key}, which factor {owner[key]!r} sets too")
                owner[key] = factor.name

    def check_changed_keys(self, factors: Sequence[Factor], changes: Mapping[str, Any]) -> None:
        for factor in factors:
            for key in sorted({key for level in factor.levels for key in level.changes} & set(changes)):
                self.add_problem(f"--set {key}", f"has no effect: factor {factor.name!r} varies this key")

    def check_key_paths(self, base: Mapping[str, Any], factors: Sequence[Factor]) -> None:
        for factor in factors:
            for level in factor.levels:
                try:
                    apply_changes(base, level.changes.items())
                except KeyPathError as error:
                    self.add_problem(f"factors.{factor.name}.{level.name}", str(error))

    def read_folds(
        self, value: Any, base: Mapping[str, Any], factors: Sequence[Factor], changes: Mapping[str, Any]
    ) -> int | None:
        """Return the number of folds; record a problem if something else sets the folds or the seed of the data."""
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < FEWEST_FOLDS:
            self.add_problem("folds", f"is {value!r}; a whole number of folds, at least {FEWEST_FOLDS}, is expected")
            return None
        reasons = {
            "folds": f"the study's `folds: {value}` sets it in every cell; remove one of the two",
            "seed": f"with the study's `folds: {value}` each trial's seed picks its fold; leave it out",
        }
        for name, reason in reasons.items():
            key = f"data.init_args.{name}"
            if _get_data_argument(base, name) is not None:
                self.add_problem(f"--set {key}" if key in changes else f"base.{key}", f"is set, but {reason}")
            for factor in factors:
                if any(_get_data_argument(_build_level_config(level), name) is not None for level in factor.levels):
                    self.add_problem(f"factors.{factor.name}", f"sets {key}, but {reason}")
        return value

    def read_mechanisms(
        self, value: Any, base: Mapping[str, Any], factors: Sequence[Factor]
    ) -> MechanismsOptions | None:
        options = parse_mechanisms(value, self.add_problem)
        levels = {
            f"factors.{factor.name}": [_build_level_config(level) for level in factor.levels] for factor in factors
        }
        if options is not None:
            report_double_callbacks({"base.trainer.callbacks": [base], **levels}, self.add_problem)
        return options

    def read_seeds(self, value: Any) -> tuple[int, ...]:
        if isinstance(value, int) and not isinstance(value, bool):
            if 1 <= value <= MOST_SEEDS:
                return tuple(range(value))
            needed = "at least 1 is needed" if value < 1 else f"at most {MOST_SEEDS:,} are possible"
            self.add_problem("seeds", f"is {value}; {needed}")
            return ()
        if not isinstance(value, list | tuple) or not value:
            self.add_problem("seeds", f"is {value!r}; a number of seeds or a list of seeds is expected")
            return ()
        for seed in value:
            if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
                self.add_problem("seeds", f"{seed!r} is not a seed; whole numbers from 0 to {LARGEST_SEED} are")
        for position, seed in enumerate(value):
            if seed in value[:position]:
                self.add_problem("seeds", f"{seed!r} is given twice")
        return tuple(value)

    def read_exclude(self, value: Any, factors: Sequence[Factor]) -> tuple[Mapping[str, tuple[str, ...]], ...]:
        if not self.check_type("exclude", value, list, "a list of {factor: level}"):
            return ()
        rules = []
        for position, entry in enumerate(value):
            where = f"exclude.{position}"
            if not isinstance(entry, dict) or not entry:
                self.add_problem(where, f"is {entry!r}; {{factor: level, ...}} is expected")
                continue
            rule = {}
            for name, levels in entry.items():
                wanted = levels if isinstance(levels, list) and levels else [levels]
                rule[str(name)] = tuple(self.read_level(f"{where}.{name}", factors, name, level) for level in wanted)
            rules.append(rule)
        return tuple(rules)


def _build_level_config(level: Level) -> Mapping[str, Any]:
    """Return a configuration with only the keys that a level sets."""
    try:
        return apply_changes({}, level.changes.items())
    except KeyPathError:  # reported by check_key_paths
        return {}


def _get_data_argument(config: Mapping[str, Any], name: str) -> Any:
    """Return an argument of a configuration's data module; None when it is not set."""
    data = config.get("data")
    init_args = data.get("init_args") if isinstance(data, dict) else None
    return init_args.get(name) if isinstance(init_args, dict) else None


def _is_equal(one: Any, other: Any) -> bool:
    """Compare two values as a configuration would: True, 1 and 1.0 differ."""
    return repr(one) == repr(other)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name too long for a file
        return False


def _summarize(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    text = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {text}" if mark else str(text)
