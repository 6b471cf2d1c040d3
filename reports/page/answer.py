"""Answer of a study: one paragraph, composed of the sentences of its verdicts."""

from collections import Counter
from collections.abc import Mapping

from reports.analysis.claims import CONTRADICTED, PRACTICALLY_EQUAL, SUPPORTED
from reports.report import Report
from reports.wording.verdicts import EQUIVALENT, HARMS, IMPROVES, UNDECIDED

MOST_SENTENCES = 4
_ONE = {IMPROVES: "improves", HARMS: "harms", EQUIVALENT: "is equivalent", UNDECIDED: "is undecided"}
_MANY = {IMPROVES: "improve", HARMS: "harm", EQUIVALENT: "are equivalent", UNDECIDED: "are undecided"}
ONE_FINDING = {word: f"is {word}" for word in (SUPPORTED, CONTRADICTED, PRACTICALLY_EQUAL, UNDECIDED)}
MANY_FINDINGS = {word: f"are {word}" for word in ONE_FINDING}


def compose_answer(report: Report) -> str:
    """Return the counts of verdicts and the sentences of decided contrasts; without contrasts, the reason."""
    effects = report.main_effects
    if effects.empty:
        return report.notes[0] if report.notes else "There is nothing to compare."
    counts = Counter(effects["verdict"])
    parts = []
    if len(effects) > 1:
        parts.append(f"Of {len(effects)} comparisons with a reference, {describe_counts(counts, _ONE, _MANY)}.")
    decided = effects[effects["verdict"] != UNDECIDED]
    if len(decided):
        parts.extend(decided["sentence"].head(MOST_SENTENCES))
    else:
        sizes = effects["mean_difference"].abs()
        largest = effects["sentence"].iloc[int(sizes.fillna(-1.0).to_numpy().argmax())]
        parts.append(f"The largest difference: {largest}" if len(effects) > 1 and sizes.notna().any() else str(largest))
    if len(report.claims) > 1:
        findings = describe_counts(Counter(report.claims["finding"]), ONE_FINDING, MANY_FINDINGS)
        parts.append(f"Of {len(report.claims)} claims, {findings}.")
    if counts[UNDECIDED]:
        parts.append(f"Undecided does not mean “no effect”: more {report.study.unit}s may decide.")
    return " ".join(parts)


def describe_counts(counts: Mapping[str, int], one: Mapping[str, str], many: Mapping[str, str]) -> str:
    """Describe counts by word, as a list in a sentence.

    >>> describe_counts({"improves": 2, "undecided": 1}, _ONE, _MANY)
    '2 improve and 1 is undecided'
    """
    if len(counts) == 1 and counts[next(iter(counts))] > 1:
        return f"all {many[next(iter(counts))]}"
    parts = [f"{counts[word]} {(one if counts[word] == 1 else many)[word]}" for word in one if counts.get(word)]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
