import pytest
from hypothesis import given
from hypothesis import strategies as st
from mechanism_ledger import depth_study, inside_ledger

from experiments.study.mechanisms import split_metric
from reports import load_curves, load_trials
from reports.analysis.layer_metrics import sort_metrics

DEAD = "mechanism/dead/"


def dead(*layers):
    return [DEAD + layer for layer in layers]


@pytest.mark.parametrize(
    ("metric", "found"),
    [
        ("mechanism/dead/features.0", ("dead", "features.0")),
        ("mechanism/dead/a/b", ("dead", "a/b")),
        ("mechanism/weight_gradient_ratio", None),
        ("mechanism/dead/", None),
        ("mechanism//relu", None),
        ("val/dead/relu", None),
        ("gap/loss", None),
    ],
)
def test_a_metric_of_a_layer_names_quantity_and_layer(metric, found):
    assert split_metric(metric) == found


def test_layers_of_networks_of_several_depths_follow_the_data_flow():
    shallow, deep = dead("stem", "b2", "head"), dead("stem", "b2", "b3", "b4", "head")
    assert sort_metrics({*shallow, *deep}, [shallow, deep]) == deep
    assert sort_metrics({*shallow, *deep}, [deep, shallow]) == deep


def test_each_quantity_has_its_own_order():
    told = [*dead("z", "a"), "mechanism/saturated/a", "mechanism/saturated/z"]
    assert sort_metrics(sorted(told), [told]) == told


def test_for_contradicting_orders_the_first_network_decides():
    assert sort_metrics(dead("a", "b", "c"), [dead("b", "a"), dead("a", "b", "c")]) == dead("b", "a", "c")


def test_without_an_order_numbers_sort_numerically():
    assert sort_metrics(dead("l10", "l9", "l9b", "a2.l1", "a10.l1"), []) == dead("a2.l1", "a10.l1", "l9", "l9b", "l10")


def test_other_metrics_are_in_alphabetical_order():
    names = ["val/acc", "epoch", "train/loss", "mechanism/weight_gradient_ratio", "gap/acc"]
    assert sort_metrics(names, [names]) == sorted(names)


@given(st.permutations([f"l{number}" for number in range(8)]), st.lists(st.sets(st.integers(0, 7)), min_size=1))
def test_the_merged_order_agrees_with_consistent_orders(true, parts):
    told = [dead(*(true[place] for place in sorted(part))) for part in parts]
    found = sort_metrics({name for network in told for name in network}, told)
    for network in told:
        assert [name for name in found if name in network] == network


def test_frames_have_the_layers_in_the_order_of_data_flow(tmp_path):
    folder = inside_ledger(tmp_path, depth_study(depths=(2, 11)))
    expected = ["stem", *(f"block{number}" for number in range(2, 12)), "head"]
    for load in (load_curves, load_trials):
        columns = [name for name in load(folder).columns if name.startswith("mechanism/weight_norm/")]
        assert columns == [f"mechanism/weight_norm/{layer}" for layer in expected], load
