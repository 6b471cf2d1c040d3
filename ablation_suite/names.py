"""Name clashes between the packages of the suite and those of a user.

The packages of the suite are called experiments, reports, lit_models, datamodules and ablate, and projects have folders
of these names too. Python imports the first one on its path, and with an editable installation even a folder without
`__init__.py` precedes the suite. `claim_names` fixes the order: the packages of the suite keep their names, the modules
of a user's lit_models/ and datamodules/ are importable too, and any other clash is an error that names the file to
rename. docs/design/packaging.md has the reasons.
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
"""Packages to which a user can add modules."""

NAMES = ("ablate", "experiments", "reports", *SHARED)

HOME = Path(__file__).absolute().parents[1]
"""Folder of the packages of the suite: site-packages, or a checkout."""


class NameClashError(ImportError):
    """Name clash of a user's file or package with one of the suite. The message names the file to rename."""


_MARK = "ablation_suite"  # in the `__init__.py` of each package of the suite, and of no other package


def claim_names() -> None:
    """Make this process import the packages of the suite under their names, whatever the order of `sys.path`."""
    if str(HOME) not in sys.path:  # it may be missing in an editable installation
        sys.path.append(str(HOME))
    if not any(isinstance(finder, _SuiteFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SuiteFinder())


def find_clash() -> str | None:
    """Return a message about the first file of a user that hides a module of the suite or is hidden by one.

    Search imported packages, and all folders of `sys.path` except the suite's and those of installed packages.
    """
    imported = (clash for name in NAMES if (clash := _find_imported_clash(name)) is not None)
    copies = (clash for name in NAMES if (clash := _find_copy_clash(name)) is not None)
    users = (clash for name in NAMES for clash in _find_clashes(name))
    return next(imported, None) or next(copies, None) or next(users, None)


def check_package(name: str) -> None:
    """Raise NameClashError if a user's files clash with this package of the suite, which calls it when imported."""
    for clash in _find_clashes(name):
        raise NameClashError(clash, name=name)


def miss_attribute(package: str, attribute: str) -> NoReturn:
    """Raise an error for a missing attribute, as `__getattr__` of lit_models and datamodules.

    Raises:
        NameClashError: in `from package import attribute`, if a user's `__init__.py`, which is not imported, may have
            it.
        AttributeError: otherwise, so that `hasattr` and `getattr` with a default work as usual.
    """
    is_imported = sys._getframe(1).f_code.co_name == "_handle_fromlist"  # noqa: SLF001 -- importlib's part of `from`
    if is_imported and (hidden := find_hidden(package)) is not None:
        raise NameClashError(f"{package} has no {attribute!r}: {hidden}", name=package)
    raise AttributeError(f"module {package!r} has no attribute {attribute!r}")


def find_hidden(module: str) -> str | None:
    """Return a message about the user's file that the suite's module of this name hides, None without one."""
    name, _, rest = module.partition(".")
    for folder in _user_folders(name) if name in NAMES else []:
        first = rest.partition(".")[0]
        if rest and _has_module(folder, rest) and _has_module(_suite_folder(name), first):
            path = folder / first
            path = path if path.is_dir() else path.with_name(f"{first}.py")
            return _clash_message(path, f"{name}.{first} is a module of the suite")
        if not rest and (folder / "__init__.py").exists():
            return (
                f"{folder / '__init__.py'} is not imported, since {name} is a package of the suite; name your class "
                f"by its module, as in {name}.mine.Mine"
            )
    return None


class _SuiteFinder:
    """Finder of the packages of the suite, first in `sys.meta_path`.

    It does not inherit from the abstract class in importlib.abc, which takes 10 ms to import.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the location of a package of the suite; raise NameClashError if a user's package has its name."""
        name, _, module = fullname.partition(".")
        if name not in NAMES:
            return None
        if not module:
            for clash in _find_clashes(name):
                raise NameClashError(clash, name=fullname)
            folder = _suite_folder(name)
            return spec_from_file_location(fullname, folder / "__init__.py", submodule_search_locations=[str(folder)])
        if "." in module or _has_module(_suite_folder(name), module):
            return None
        folders = _user_folders(name)
        if name in SHARED:  # looked up each time, since workers and notebooks change sys.path
            return PathFinder.find_spec(fullname, [str(folder) for folder in folders])
        for folder in folders:
            if _has_module(folder, module):
                raise NameClashError(_clash_message(folder, f"{name} is a package of the suite"), name=fullname)
        return None


def _find_clashes(name: str) -> Iterator[str]:
    """Yield messages about files of a user that clash with this package of the suite."""
    for folder in _user_folders(name):
        if name in SHARED:
            suite = _suite_folder(name)
            ours, public = _module_names(suite), _public_names(suite / "__init__.py")
            for path in sorted(folder.iterdir()):
                if path.stem in ours | public and path.stem != "__init__" and _is_module(path):
                    kind = "a module" if path.stem in ours else "a name"
                    yield _clash_message(path, f"{name}.{path.stem} is {kind} of the suite")
        elif (folder / "__init__.py").exists():
            yield _clash_message(folder, f"{name} is a package of the suite")
    for entry in _user_entries():
        if (path := entry / f"{name}.py").is_file():
            yield _clash_message(path, f"{name} is a package of the suite")


def _find_imported_clash(name: str) -> str | None:
    """Return a message about a user's package that is imported under this name."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or _is_suite(Path(file).parent):
        return None
    if name in SHARED:
        return (
            f"{file}: is imported as {name} and hides the suite's; import `experiments` before it, and name your "
            f"classes by their modules, as in {name}.mine.Mine"
        )
    return _clash_message(Path(file).parent, f"{name} is a package of the suite")


def _public_names(init: Path) -> set[str]:
    """Return the names in `__all__` of the file of a package, without importing it."""
    import ast

    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]:
            return set(ast.literal_eval(node.value))
    return set()


def _find_copy_clash(name: str) -> str | None:
    """Return a message about a checkout of the suite that is not in use, as for a wheel that runs in a checkout."""
    for entry in _user_entries():
        if _is_suite(entry / name) and (entry / "pyproject.toml").exists():
            return f"{entry}: is a checkout of the suite, but {HOME} is in use; use `uv run` there, or another folder"
    return None


def _clash_message(path: Path, reason: str) -> str:
    return f"{path}: {reason}, and only one of the two can be imported by this name; rename yours"


def _is_suite(folder: Path) -> bool:
    """Return True for a package of the suite, also in a copy such as Ray makes for its workers."""
    init = folder / "__init__.py"
    return init.is_file() and _MARK in init.read_text(encoding="utf-8", errors="replace")


@functools.cache
def _suite_folder(name: str) -> Path:
    """Return the folder of a package of the suite: next to this one, or where Ray put it on the path."""
    entries = [HOME, *(Path(entry or os.getcwd()) for entry in sys.path)]  # noqa: PTH109
    return next((entry / name for entry in entries if _is_suite(entry / name)), HOME / name)


def _user_entries() -> list[Path]:
    """Return the folders of `sys.path` that are neither the suite's nor for installed packages."""
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
