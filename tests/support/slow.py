"""Parameters of tests that only the slow part runs."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """A case that is marked slow."""
    return pytest.param(*values, marks=pytest.mark.slow)


def slow_but(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """All cases, those that are not kept marked slow."""
    cases = list(cases)
    assert set(kept) <= set(cases)
    return [case if case in kept else slow(case) for case in cases]
