"""Lines printed while a study runs."""

import io
from dataclasses import replace

from rich.console import Console

from experiments.execution import progress
from experiments.execution.progress import ProgressSink
from experiments.study.study import Claim, Metric
from experiments.trials.trial import EpochEnded, Group, Result, Trial


def trials_of(number):
    config = {"trainer": {"max_epochs": 2}}
    return tuple(
        Trial(trial_id=str(n), config_id=str(n), config=config, levels={"a": str(n)}, seed=0) for n in range(number)
    )


def printed_lines(groups, events, monkeypatch):
    """Return the lines printed when these trials end their first epoch, half a minute after the start."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    text = io.StringIO()
    counts = dict.fromkeys(("finished", "diverged", "failed"), 0)
    with ProgressSink(Console(file=text, width=100)) as sink:
        sink.on_planned(counts | {"pending": sum(len(group.trials) for group in groups)}, groups, 1)
        for group in groups:
            for trial in group.trials:
                sink.on_started(trial)
        now[0] = 30.0
        for trial in events:
            sink.on_epoch_ended(trial, EpochEnded(trial_id=trial.trial_id, epoch=0, metrics={}))
    return text.getvalue().splitlines()


def test_the_time_left_counts_an_epoch_of_a_group_for_all_its_trials(monkeypatch):
    trials = trials_of(20)
    fused = printed_lines([Group(trials=trials, is_fused=True)], trials[:1], monkeypatch)[-1]
    unfused = printed_lines([Group(trials=(trial,)) for trial in trials], trials[:1], monkeypatch)[-1]
    assert fused == "0/20 trials done, 20 running, about 30 s left"
    assert unfused == "0/20 trials done, 20 running, about 19 min 30 s left"


def test_requeued_trials_no_longer_count_as_trained_and_the_reason_is_printed_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    text = io.StringIO()
    one, other = trials_of(2)
    counts = {"pending": 2, "finished": 0, "diverged": 0, "failed": 0}
    with ProgressSink(Console(file=text, width=100)) as sink:
        sink.on_planned(counts, [Group(trials=(one, other), is_fused=True)], 1)
        for trial in (one, other):
            sink.on_started(trial)
        now[0] = 10.0
        sink.on_epoch_ended(one, EpochEnded(trial_id=one.trial_id, epoch=0, metrics={}))
        for trial in (one, other):
            sink.on_requeued(trial, "Traceback ...\nthe worker process was ended by SIGKILL")
    lines = text.getvalue().splitlines()
    assert "0/2 trials done, 2 running, about 10 s left" in lines
    assert lines.count("retrying lost or failed trials: the worker process was ended by SIGKILL") == 1
    assert lines[-1] == "0/2 trials done"


def test_a_trial_that_lacks_the_metric_of_its_claim_gives_one_warning():
    one, other = trials_of(2)
    levels = [{"x": "a"}, {"x": "b"}]
    one, other = (replace(trial, levels=own) for trial, own in zip((one, other), levels, strict=True))
    claim = Claim(name="c", factor="x", better="b", than="d", says="", metric=Metric(name="gap/acc"))
    text = io.StringIO()
    with ProgressSink(Console(file=text, width=200), claims=[claim]) as sink:
        sink.on_planned({"pending": 2, "finished": 0, "diverged": 0, "failed": 0}, [Group(trials=(one, other))], 1)
        for trial in (one, other, other):
            sink.on_started(trial)
            sink.on_ended(trial, Result(status="finished", metrics={"gap/loss": 0.1}))
            num_warnings = text.getvalue().count(
                "a trial did not log the metric of claim c 'gap/acc'; logged: gap/loss"
            )
            assert num_warnings == (trial is not one)


def test_the_warning_of_a_missing_metric_lists_no_mechanism_metrics():
    (trial,) = trials_of(1)
    text = io.StringIO()
    logged = {"val/acc": 0.5, **{f"mechanism/weight_norm/linear{number}": 1.0 for number in range(200)}}
    with ProgressSink(Console(file=text, width=200), metric="test/auroc") as sink:
        sink.on_planned({"pending": 1, "finished": 0, "diverged": 0, "failed": 0}, [Group(trials=(trial,))], 1)
        sink.on_started(trial)
        sink.on_ended(trial, Result(status="finished", metrics=logged))
    assert "a trial did not log the study's metric 'test/auroc'; logged: val/acc\n" in text.getvalue()
