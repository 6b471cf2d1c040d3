"""What chance alone would do to many verdicts, said so that it is true."""

import numpy as np
import pandas as pd

from reports.analysis.claims import CONTRADICTED, PRACTICALLY_EQUAL, SUPPORTED
from reports.statistics.paired import holm
from reports.wording.numbers import format_count
from reports.wording.sensitivity import ALPHA

_FOUND = (SUPPORTED, CONTRADICTED)


def with_catalogue_p(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims with `p_catalogue`: adjusted by Holm over the claims of all studies at once."""
    return claims.assign(p_catalogue=holm(claims["p_value"].to_numpy(dtype=np.float64)))


def chance_lines(claims: pd.DataFrame) -> list[str]:
    """What to expect of chance over all studies, as sentences; nothing where nothing was tested.

    Within a study, Holm's method holds the chance of any false "supported" or "contradicted" at 5 %. Over K studies the
    chance of at least one false verdict is no longer 5 %, but the expected number of studies with one is at most K
    times 5 %, by adding expectations, whether the studies are independent or not.
    """
    tested = claims[claims["p_value"].notna()]
    if tested.empty:
        return []
    num_studies, num_claims = tested["folder"].nunique(), len(tested)
    at_most = _percent(ALPHA)
    within = (
        "Within a study, Holm’s method keeps the chance of calling any claim supported or contradicted at "
        f"{at_most} or less where none of its claims is about a real difference."
    )
    lines = [within]
    if num_studies > 1:
        lines[0] += (
            f" Over studies that adds up: without any real difference, up to {ALPHA * num_studies:.2g} of these "
            f"{num_studies} studies would be expected to have such a verdict by chance, and if they are independent, "
            f"the chance that at least one has is up to {_percent(1 - (1 - ALPHA) ** num_studies)}."
        )
        found = tested[tested["finding"].isin(_FOUND) & ~_are_shown_equal(tested)]
        kept = int((found["p_catalogue"] < ALPHA).sum())
        lines.append(
            f"With all {num_claims} tested claims as one family (Holm again), {kept} of the {len(found)} that are "
            f"supported or contradicted stay so{_lost(found)}."
            + (f" Among those that stay, the chance of any false one is {at_most} or less." if kept else "")
        )
    if num_with_margin := int(tested["margin"].notna().sum()):
        equal = int(_are_shown_equal(tested).sum())
        lines.append(
            "Practically equal, or equal as claimed, is not adjusted: a claim whose true difference is as large as its "
            f"margin, or larger, is called so with a chance of {at_most} or less. If all "
            f"{format_count(num_with_margin, 'claim')} with a margin were such, up to {ALPHA * num_with_margin:.2g} "
            f"would be expected to be called so; {equal} "
            f"{'is' if equal == 1 else 'are'}."
        )
    lines.append(
        "Studies on one data set share its test examples and may err together. That changes nothing of what is "
        "expected, but several errors at once are likelier than if they were independent. Undecided is not refuted."
    )
    return lines


def _are_shown_equal(claims: pd.DataFrame) -> "pd.Series[bool]":
    return (claims["finding"] == PRACTICALLY_EQUAL) | (claims["is_equality"] & (claims["finding"] == SUPPORTED))


def _lost(found: pd.DataFrame) -> str:
    lost = [f"{row['study']}: {row['claim']}" for row in found[~(found["p_catalogue"] < ALPHA)].to_dict("records")]
    return f"; not {', '.join(lost)}" if lost else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
