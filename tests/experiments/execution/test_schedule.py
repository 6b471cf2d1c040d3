"""Order in which groups start."""

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.execution.schedule import Schedule, count_slots
from experiments.trials.trial import Group, Trial


def group(name, num_trials=1, epochs=1, **trainer):
    config = {"trainer": {"max_epochs": epochs} | trainer}
    return Group(
        trials=tuple(
            Trial(trial_id=f"{name}-{number}", config_id=name, levels={}, seed=number, config=config)
            for number in range(num_trials)
        )
    )


def names(groups):
    return [each.trials[0].trial_id.partition("-")[0] for each in groups]


def test_equal_groups_keep_the_order_of_the_plan():
    assert names(Schedule([group(str(number)) for number in range(9)], 2)) == [str(number) for number in range(9)]


def test_a_long_group_is_not_left_for_the_end():
    groups = [group(str(number)) for number in range(6)] + [group("long", epochs=10)]
    assert names(Schedule(groups, 2))[0] == "long"


def test_the_order_of_the_plan_is_kept_as_long_as_all_slots_have_enough_to_do():
    groups = [group(str(number)) for number in range(30)] + [group("long", epochs=5)]
    order = names(Schedule(groups, 2))
    assert order[:10] == [str(number) for number in range(10)]
    assert 10 < order.index("long") < 20


def test_measured_seconds_take_precedence_over_epochs_and_scale_them():
    groups = [group("a", epochs=1), group("b", epochs=4), group("slow", epochs=1)]
    assert names(Schedule(groups, 1, lambda: {"slow-0": 60.0})) == ["b", "a", "slow"]  # an epoch takes a minute
    assert names(Schedule(groups, 1, lambda: {"slow-0": 60.0, "b-0": 4.0, "a-0": 1.0})) == ["slow", "b", "a"]


def test_seconds_measured_during_the_run_are_used():
    measured = {}
    schedule = Schedule([group(str(number)) for number in range(8)], 1, lambda: dict(measured))
    assert names([next(schedule) for _ in range(4)]) == ["0", "1", "2", "3"]
    measured |= {f"{number}-0": 1.0 for number in range(7)} | {"7-0": 50.0}
    assert names(schedule) == ["7", "4", "5", "6"]


def test_a_group_added_after_the_end_continues_the_schedule():
    schedule = Schedule([group("a")], 1)
    assert names(schedule) == ["a"]
    assert not schedule
    schedule.add(group("b"))
    assert len(schedule) == 1
    assert names(schedule) == ["b"]


def test_groups_of_several_slots_come_first():
    wide = group("wide", devices=2)
    assert (count_slots(wide), count_slots(group("a", devices="auto"))) == (2, 1)
    schedule = Schedule([group("a", epochs=9), wide], 2)
    assert names(schedule) == ["wide", "a"]
    schedule.add(group("b"))
    schedule.add(wide)
    assert names(schedule) == ["wide", "b"]


def makespan(order, num_slots):
    slots = [0.0] * num_slots
    for seconds in order:
        heapq.heappush(slots, heapq.heappop(slots) + seconds)
    return max(slots)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 8))
def test_the_makespan_is_within_a_third_of_the_optimum(seconds, num_slots):
    groups = [group(str(number), epochs=each) for number, each in enumerate(seconds)]
    order = [float(each.trials[0].config["trainer"]["max_epochs"]) for each in Schedule(groups, num_slots)]
    assert sorted(order) == sorted(map(float, seconds))
    bound = max(*seconds, sum(seconds) / num_slots)
    pairs = sorted(seconds, reverse=True)[num_slots - 1 : num_slots + 1]
    if len(pairs) == 2:
        bound = max(bound, sum(pairs))  # two of the longest num_slots + 1 share a slot
    assert makespan(order, num_slots) <= 4 / 3 * bound + 1e-9 or makespan(order, num_slots) <= (
        makespan(sorted(seconds, reverse=True), num_slots) + 1e-9
    )


@pytest.mark.parametrize("trainer", [{}, {"max_epochs": None, "max_steps": 100}, {"max_epochs": -1, "max_steps": -1}])
def test_any_trainer_has_a_number_of_epochs(trainer):
    schedule = Schedule([group("a", **({"epochs": 3} | {})), Group(trials=(trial_of(trainer),))], 1)
    assert len(names(schedule)) == 2


def trial_of(trainer):
    return Trial(trial_id="odd-0", config_id="odd", levels={}, seed=0, config={"trainer": trainer} if trainer else {})
