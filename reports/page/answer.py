"""The answer of a study as one paragraph, put together from the sentences of its verdicts."""

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


def answer(report: Report) -> str:
    """What came out, the counts first and then the decided contrasts; without any, why there is none."""
    effects = report.main_effects
    if effects.empty:
        return report.notes[0] if report.notes else "There is nothing to compare."
    counts = Counter(effects["verdict"])
    parts = []
    if len(effects) > 1:
        parts.append(f"Of {len(effects)} comparisons with a reference, {count_words(counts, _ONE, _MANY)}.")
    decided = effects[effects["verdict"] != UNDECIDED]
    if len(decided):
        parts.extend(decided["sentence"].head(MOST_SENTENCES))
    else:
        sizes = effects["mean_difference"].abs()
        told = effects["sentence"].iloc[int(sizes.fillna(-1.0).to_numpy().argmax())]
        parts.append(f"The largest difference: {told}" if len(effects) > 1 and sizes.notna().any() else str(told))
    if len(report.claims) > 1:
        findings = count_words(Counter(report.claims["finding"]), ONE_FINDING, MANY_FINDINGS)
        parts.append(f"Of {len(report.claims)} claims, {findings}.")
    if counts[UNDECIDED]:
        parts.append(f"Undecided is not “no effect”: these {report.study.unit}s cannot tell.")
    return " ".join(parts)


def count_words(counts: Mapping[str, int], one: Mapping[str, str], many: Mapping[str, str]) -> str:
    """Counts by word, as a list in a sentence.

    >>> count_words({"improves": 2, "undecided": 1}, _ONE, _MANY)
    '2 improve and 1 is undecided'
    """
    if len(counts) == 1 and counts[next(iter(counts))] > 1:
        return f"all {many[next(iter(counts))]}"
    parts = [f"{counts[word]} {(one if counts[word] == 1 else many)[word]}" for word in one if counts.get(word)]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
