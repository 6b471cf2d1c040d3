"""Parameters of slow tests."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """Mark a case as slow."""
    return pytest.param(*values, marks=pytest.mark.slow)


def slow_but(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """Return all cases, marked as slow unless kept."""
    cases = list(cases)
    assert set(kept) <= set(cases)
    return [case if case in kept else slow(case) for case in cases]
