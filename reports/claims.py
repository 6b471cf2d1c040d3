"""The claims of a study, put to the test: each is the paired contrast of the two levels it names."""

import pandas as pd

from experiments.study import Study

from .cells import Outcomes
from .contrasts import compare, judged
from .verdicts import EQUIVALENT, HARMS, IMPROVES, UNDECIDED

SUPPORTED, CONTRADICTED, PRACTICALLY_EQUAL = "supported", "contradicted", "practically equal"
_FINDINGS = {IMPROVES: SUPPORTED, HARMS: CONTRADICTED, EQUIVALENT: PRACTICALLY_EQUAL, UNDECIDED: UNDECIDED}


def claim_table(study: Study, outcomes: Outcomes) -> pd.DataFrame:
    """One row a claim: claim (its name), says, finding, the columns of `contrast_table` for `better` - `than`, answer.

    finding: supported, contradicted, practically equal or undecided. Claims are stated before anything is trained, so
    they are a Holm family of their own. For a study of one seed every claim is undecided.
    answer: the claim and what came of it, in plain words.
    """
    main = [compare(outcomes, claim.factor, claim.better, claim.than)[0] for claim in study.claims]
    table = judged(main, study.metric)
    table.insert(0, "claim", [claim.name for claim in study.claims])
    table.insert(1, "says", [claim.says for claim in study.claims])
    table.insert(2, "finding", [_FINDINGS[word] for word in table["verdict"]])
    table["answer"] = [
        f"{claim.says.rstrip('.')} ({claim.name}). {sentence}"
        for claim, sentence in zip(study.claims, table["sentence"], strict=True)
    ]
    return table
