"""Multiple comparisons: false verdicts to expect over the claims of many studies."""

import numpy as np
import pandas as pd

from reports.analysis.claims import CONTRADICTED, PRACTICALLY_EQUAL, SUPPORTED
from reports.statistics.paired import holm
from reports.wording.numbers import format_count
from reports.wording.sensitivity import ALPHA

_FOUND = (SUPPORTED, CONTRADICTED)


def add_catalogue_p(claims: pd.DataFrame) -> pd.DataFrame:
    """Add the column `p_catalogue`: p adjusted by Holm's method over the claims of all studies."""
    return claims.assign(p_catalogue=holm(claims["p_value"].to_numpy(dtype=np.float64)))


def describe_multiplicity(claims: pd.DataFrame) -> list[str]:
    """Return sentences about the false verdicts to expect over all studies; none if nothing was tested.

    Within a study, Holm's method keeps the probability of any false "supported" or "contradicted" at 5 % or less. Over
    K studies, the expected number of studies with a false verdict is at most 5 % of K, by linearity of expectation,
    whether or not the studies are independent.
    """
    tested = claims[claims["p_value"].notna()]
    if tested.empty:
        return []
    num_studies, num_claims = tested["folder"].nunique(), len(tested)
    at_most = _format_percent(ALPHA)
    within = (
        "Within a study, Holm’s method keeps the probability of calling any claim without a true difference supported "
        f"or contradicted at {at_most} or less."
    )
    lines = [within]
    if num_studies > 1:
        lines[0] += (
            f" Over {num_studies} studies without any true difference, up to {ALPHA * num_studies:.2g} studies with a "
            "false verdict are expected. If the studies are independent, the probability of at least one is up to "
            f"{_format_percent(1 - (1 - ALPHA) ** num_studies)}."
        )
        found = tested[tested["finding"].isin(_FOUND) & ~_are_shown_equal(tested)]
        kept = int((found["p_catalogue"] < ALPHA).sum())
        lines.append(
            f"With Holm’s method over all {num_claims} tested claims, {kept} of the {len(found)} supported or "
            f"contradicted claims remain significant{_list_lost_claims(found)}."
            + (f" This keeps the probability of any false verdict among them at {at_most} or less." if kept else "")
        )
    if num_with_margin := int(tested["margin"].notna().sum()):
        equal = int(_are_shown_equal(tested).sum())
        lines.append(
            "Verdicts of equality (“practically equal”, or a supported claim of equality) are not adjusted. A claim "
            f"whose true difference is at least its margin is called equal with a probability of {at_most} or less. If "
            f"all {format_count(num_with_margin, 'claim')} with a margin were such, up to "
            f"{ALPHA * num_with_margin:.2g} would be expected to be called equal; "
            f"{equal} {'is' if equal == 1 else 'are'}."
        )
    lines.append(
        "Studies on the same data set share its test examples, so their errors are correlated. This does not change "
        "the expected number of errors, but makes several errors at once more likely. Undecided does not mean refuted."
    )
    return lines


def _are_shown_equal(claims: pd.DataFrame) -> "pd.Series[bool]":
    return (claims["finding"] == PRACTICALLY_EQUAL) | (claims["is_equality"] & (claims["finding"] == SUPPORTED))


def _list_lost_claims(found: pd.DataFrame) -> str:
    lost = [f"{row['study']}: {row['claim']}" for row in found[~(found["p_catalogue"] < ALPHA)].to_dict("records")]
    return f"; not {', '.join(lost)}" if lost else ""


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f} %"
