import doctest
import importlib
import pkgutil

import pytest

import reports


@pytest.mark.parametrize("name", sorted(module.name for module in pkgutil.iter_modules(reports.__path__)))
def test_the_examples_in_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(f"reports.{name}")).failed == 0
