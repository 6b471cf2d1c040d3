"""Parameters of slow tests."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """Mark a case as slow."""
    return pytest.param(*values, marks=pytest.mark.slow)


def slow_except(cases: Iterable[Any], *fast: Any) -> list[Any]:
    """Return all cases, and mark those as slow that are not among the fast ones."""
    cases = list(cases)
    assert set(fast) <= set(cases)
    return [case if case in fast else slow(case) for case in cases]
