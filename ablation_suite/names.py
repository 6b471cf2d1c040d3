"""The suite's package names beside a user's packages of the same names.

The suite's packages are called experiments, reports, lit_models, datamodules and ablate, and projects have folders of
these names too. Python takes whichever comes first on its path, and with an editable installation even a folder without
`__init__.py` comes before the suite. `claim_names` makes the order certain: the suite's packages stay the suite's, the
modules of a user's lit_models/ and datamodules/ are found beside them, and what cannot work is one sentence that says
what to rename. docs/design/packaging.md has the reasons.
"""

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NoReturn

SHARED = ("lit_models", "datamodules")
"""Packages in which a user's modules are found beside the suite's."""

NAMES = ("ablate", "experiments", "reports", *SHARED)

HOME = Path(__file__).absolute().parents[1]
"""The folder that holds the suite's packages: site-packages, or a checkout."""


class NameClashError(ImportError):
    """A user's file or package has the name of one of the suite's. The message says what to rename."""


_MARK = "ablation_suite"  # in the `__init__.py` of each package of the suite, and of no other


def claim_names() -> None:
    """Have this process find the suite's packages under their names, whatever comes first on `sys.path`."""
    if str(HOME) not in sys.path:  # an editable installation may do without
        sys.path.append(str(HOME))
    if not any(isinstance(finder, _SuiteFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SuiteFinder())


def find_clash() -> str | None:
    """Return the sentence about the first of a user's files that hides one of the suite's or is hidden by it.

    Looks in all folders of `sys.path` but the suite's own and those of installed packages, and at what is imported.
    """
    imported = (clash for name in NAMES if (clash := _imported_clash(name)) is not None)
    copies = (clash for name in NAMES if (clash := _copy_clash(name)) is not None)
    users = (clash for name in NAMES for clash in _clashes(name))
    return next(imported, None) or next(copies, None) or next(users, None)


def check_package(name: str) -> None:
    """Raise NameClashError when a user's files clash with this package of the suite; it calls this when imported."""
    for clash in _clashes(name):
        raise NameClashError(clash, name=name)


def miss_attribute(package: str, attribute: str) -> NoReturn:
    """Raise for a name that a shared package does not have: the `__getattr__` of lit_models and datamodules.

    Raises:
        NameClashError: in `from package import attribute`, when a user's `__init__.py`, which is not imported, may have
            it.
        AttributeError: otherwise, so that `hasattr` and `getattr` with a default work as ever.
    """
    is_imported = sys._getframe(1).f_code.co_name == "_handle_fromlist"  # noqa: SLF001 -- importlib's part of `from`
    if is_imported and (hidden := find_hidden(package)) is not None:
        raise NameClashError(f"{package} has no {attribute!r}: {hidden}", name=package)
    raise AttributeError(f"module {package!r} has no attribute {attribute!r}")


def find_hidden(module: str) -> str | None:
    """Return the sentence about a user's file that the suite's module of this name hides, None where there is none."""
    name, _, rest = module.partition(".")
    for folder in _user_folders(name) if name in NAMES else []:
        first = rest.partition(".")[0]
        if rest and _has_module(folder, rest) and _has_module(_suite_folder(name), first):
            path = folder / first
            path = path if path.is_dir() else path.with_name(f"{first}.py")
            return _sentence(path, f"{name}.{first} is a module of the suite")
        if not rest and (folder / "__init__.py").exists():
            return (
                f"{folder / '__init__.py'} is not imported, since {name} is a package of the suite; name a class of "
                f"yours by its module, as in {name}.mine.Mine"
            )
    return None


class _SuiteFinder:
    """Finder of the suite's packages, before any other; all else is left to the others.

    It has the method that `sys.meta_path` asks for; its abstract class in importlib.abc would take 10 ms to import.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a package of the suite is; raise NameClashError where a user's has its name."""
        name, _, module = fullname.partition(".")
        if name not in NAMES:
            return None
        if not module:
            for clash in _clashes(name):
                raise NameClashError(clash, name=fullname)
            folder = _suite_folder(name)
            return spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])
        if "." in module or _has_module(_suite_folder(name), module):
            return None
        folders = _user_folders(name)
        if name in SHARED:  # looked up anew each time: workers and notebooks change sys.path
            return PathFinder.find_spec(fullname, [str(folder) for folder in folders])
        for folder in folders:
            if _has_module(folder, module):
                raise NameClashError(_sentence(folder, f"{name} is a package of the suite"), name=fullname)
        return None


def _clashes(name: str) -> Iterator[str]:
    """Sentences about what a user's folders have under the name of one of the suite's packages."""
    for folder in _user_folders(name):
        if name in SHARED:
            suite = _suite_folder(name)
            ours, public = _module_names(suite), _public_names(suite / "__init__.py")
            for path in sorted(folder.iterdir()):
                if path.stem in ours | public and path.stem != "__init__" and _is_module(path):
                    kind = "a module" if path.stem in ours else "a name"
                    yield _sentence(path, f"{name}.{path.stem} is {kind} of the suite")
        elif (folder / "__init__.py").exists():
            yield _sentence(folder, f"{name} is a package of the suite")
    for entry in _user_entries():
        if (path := entry / f"{name}.py").is_file():
            yield _sentence(path, f"{name} is a package of the suite")


def _imported_clash(name: str) -> str | None:
    """The sentence about a user's package that is imported under a name of the suite's."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or _is_suite(Path(file).parent):
        return None
    if name in SHARED:
        return (
            f"{file}: is imported as {name} and hides the suite's; import `experiments` before it, and name classes of "
            f"yours by their modules, as in {name}.mine.Mine"
        )
    return _sentence(Path(file).parent, f"{name} is a package of the suite")


def _public_names(init: Path) -> set[str]:
    """Return the names in `__all__` of a package's file; the package need not be imported."""
    import ast

    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]:
            return set(ast.literal_eval(node.value))
    return set()


def _copy_clash(name: str) -> str | None:
    """The sentence about a checkout of the suite that is not the one in use, as when a wheel is run in a checkout."""
    for entry in _user_entries():
        if _is_suite(entry / name) and (entry / "pyproject.toml").exists():
            return f"{entry}: is a checkout of the suite, but {HOME} is in use; use `uv run` there, or another folder"
    return None


def _sentence(path: Path, reason: str) -> str:
    return f"{path}: {reason}, and only one of the two can be imported by this name; rename yours"


def _is_suite(folder: Path) -> bool:
    """Return True for a package of the suite, here or in a copy, as Ray makes one for its workers."""
    init = folder / "__init__.py"
    return init.is_file() and _MARK in init.read_text(encoding="utf-8", errors="replace")


@functools.cache
def _suite_folder(name: str) -> Path:
    """Return the folder of a package of the suite: beside this one, or on the path where Ray has put each by itself."""
    entries = [HOME, *(Path(entry or os.getcwd()) for entry in sys.path)]  # noqa: PTH109
    return next((entry / name for entry in entries if _is_suite(entry / name)), HOME / name)


def _user_entries() -> list[Path]:
    """Folders of `sys.path` that are a user's: not the suite's home, nor a place for installed packages."""
    import site
    import sysconfig

    installed = [HOME, *map(Path, sysconfig.get_paths().values()), *map(Path, site.getsitepackages())]
    entries = dict.fromkeys(Path(entry or os.getcwd()).absolute() for entry in sys.path)  # noqa: PTH109
    return [entry for entry in entries if entry.is_dir() and not any(_is_same(entry, other) for other in installed)]


def _user_folders(name: str) -> list[Path]:
    folders = [entry / name for entry in _user_entries()]
    return [folder for folder in folders if folder.is_dir() and not _is_suite(folder)]


def _is_same(one: Path, other: Path) -> bool:
    return one == other or (other.exists() and one.samefile(other))


def _is_module(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").exists()


def _module_names(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir() if _is_module(path)}


def _has_module(folder: Path, module: str) -> bool:
    """Return True when a package's folder has a module or sub-package of this dotted name within the package."""
    path = folder.joinpath(*module.split("."))
    return path.with_name(f"{path.name}.py").exists() or path.is_dir()
