import base64
import io
import random
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from make_ledger import make_ledger, make_result, one_factor
from mechanism_ledger import inside_ledger
from PIL import Image

from experiments.trials.trial import TrialStatus
from reports import build_report, figures_of, to_html
from reports.figures import layer_figures, scalar_curves
from reports.figures.colour_scale import choose_scale
from reports.mechanism_maps import LOG, SHARE, SIGNED, SIZE, Quantity

BOUND = 150_000  # bytes of a figure
SVG = "{http://www.w3.org/2000/svg}"


def quantity(kind):
    return Quantity(name="q", title="Q", description="", kind=kind)


def images_of(picture):
    """Return the images of a drawing as arrays (rows, columns, 4): the panels in order, then the colour bar."""
    for image in ET.fromstring(picture.svg).iter(f"{SVG}image"):
        data = image.attrib["href"].removeprefix("data:image/png;base64,")
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


def ticks_of(values, kind):
    return [label for _, label in choose_scale(quantity(kind), np.array(values)).ticks]


def positions_of(values, kind):
    array = np.array(values)
    return choose_scale(quantity(kind), array).positions(array).tolist()


def test_equal_ratios_are_equally_spaced_on_a_logarithmic_scale():
    assert positions_of([1e-6, 1e-4, 1e-2], LOG) == pytest.approx([0, 0.5, 1])
    assert ticks_of([1e-6, 1e-2], LOG) == ["1e−6", "1e−5", "0.0001", "0.001", "0.01"]


def test_shares_always_have_a_scale_from_0_to_1():
    assert positions_of([0.2, 0.3], SHARE) == [0.2, 0.3]
    assert ticks_of([0.2], SHARE) == ["0", "0.25", "0.5", "0.75", "1"]


def test_signed_values_have_a_scale_symmetric_about_zero():
    assert positions_of([-2.0, 0.0, 1.0], SIGNED) == pytest.approx([0, 0.5, 0.75])
    low, zero, high = positions_of([-1e6, 0.0, 1e6, *[1.0] * 9], SIGNED)[:3]
    assert (low, zero, high) == pytest.approx((0, 0.5, 1))
    assert positions_of([-1e6, 0.0, 1e6, *[1.0] * 9], SIGNED)[3] > 0.52  # not hidden by the largest


def test_sizes_are_logarithmic_only_if_one_would_hide_the_others():
    assert positions_of([1.0, 2.0, 4.0], SIZE) == [0.25, 0.5, 1.0]
    assert positions_of([1.0, 10.0, 1000.0], SIZE) == pytest.approx([0, 1 / 3, 1])
    assert positions_of([0.0, 10.0, 20.0, 1000.0], SIZE) == pytest.approx([0, 0.01, 0.02, 1])
    zero, small, other, large = positions_of([0.0, 1.0, 1.5, 1000.0], SIZE)
    assert (zero, large) == pytest.approx((0, 1))
    assert 0.08 < small < other < 0.2
    assert ticks_of([0.0, 1.0, 1.5, 1000.0], SIZE)[0] == "0"


@pytest.mark.parametrize("kind", [LOG, SHARE, SIZE, SIGNED])
@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [5e-324, 1.0], [1e-300, 1e300], [np.nan, 0.5]])
def test_all_values_have_positions_on_the_colour_bar(kind, values):
    array = np.array(values) if kind != SHARE else np.minimum(values, 1.0)
    scale = choose_scale(quantity(kind), array)
    positions = scale.positions(array)[np.isfinite(array)]
    assert ((positions >= -1e-9) & (positions <= 1 + 1e-9)).all()
    assert all(0 <= position <= 1 + 1e-9 for position, _ in scale.ticks)
    assert scale.to_pixels(array[None])[..., 3].tolist() == [[0 if np.isnan(value) else 255 for value in values]]


def test_zero_on_a_logarithmic_scale_has_a_separate_colour():
    scale = choose_scale(quantity(LOG), np.array([0.0, 1e-3, 1.0]))
    assert scale.has_zero
    zero, low, high = scale.to_pixels(np.array([[0.0, 1e-3, 1.0]]))[0].tolist()
    assert zero[:3] == [0x8A, 0x8F, 0x98]
    assert zero not in (low, high)


def test_all_panels_have_the_same_colour_scale(tmp_path):
    """Draw two levels that differ in one layer: equal values have the same colour, missing ones are transparent."""

    def measured(levels, seed):
        names = ("x", "y", "z") if levels["x"] == "a" else ("x", "z")
        values = {"x": 1e-6, "y": 1e-3, "z": 1.0 if levels["x"] == "a" else 1e-3}
        return make_result(0.5, epochs=({f"mechanism/weight_gradient/{name}": values[name] for name in names},) * 2)

    report = build_report(make_ledger(tmp_path, one_factor(seeds=2), measured))
    (picture,) = layer_figures(report)
    one, other, _ = images_of(picture)
    assert one.shape == other.shape == (3, 2, 4)
    assert one[0].tolist() == other[0].tolist()
    assert one[1].tolist() == other[2].tolist()
    assert other[1, :, 3].tolist() == [0, 0]
    assert "Hatched: the network has no such layer" in picture.caption
    assert ">no value<" in picture.svg


def test_layers_are_named_from_input_at_the_top_to_output(tmp_path):
    picture = layer_figures(build_report(inside_ledger(tmp_path)))[0]
    labels = re.findall(r">(stem|block\d|head)<", picture.svg)
    assert labels == ["stem", "block2", "block3", "block4", "head"] * 2  # at the first panel of each row
    assert "Panels are named by the levels of activation, depth." in picture.caption
    assert "activation=sigmoid, depth=4 (n 3): stem 0.0001" in picture.alt


def test_panels_state_their_number_of_trials(tmp_path):
    def measured(levels, seed):
        if levels["x"] == "b" and seed == 1:
            return make_result(status=TrialStatus.DIVERGED, epochs=({"mechanism/dead/r": 1.0},))
        return make_result(0.5, epochs=({"mechanism/dead/r": 0.0},))

    (picture,) = layer_figures(build_report(make_ledger(tmp_path, one_factor(seeds=3), measured)))
    assert re.findall(r">(n [^<]*)<", picture.svg) == ["n 3", "n 2 of 3: 1 diverged"]
    assert "Mean over seeds, n above each panel." in picture.caption


def test_a_cell_without_finished_trials_is_empty(tmp_path):
    def measured(levels, seed):
        if levels["x"] == "b":
            return make_result(status=TrialStatus.DIVERGED, epochs=({"mechanism/dead/r": 1.0},))
        return make_result(0.5, epochs=({"mechanism/dead/r": 0.0},))

    (picture,) = layer_figures(build_report(make_ledger(tmp_path, one_factor(seeds=3), measured)))
    one, other, _ = images_of(picture)
    assert (one[..., 3].tolist(), other[..., 3].tolist()) == ([[255]], [[0]])
    assert "x=b (n 0): no value." in picture.alt


def test_a_map_of_many_layers_epochs_and_levels_stays_small(tmp_path):
    layers, levels = [f"layer{number}" for number in range(16)], [f"level{number}" for number in range(6)]

    def measured(chosen, seed):
        chance = random.Random(f"{chosen}{seed}")  # noise is the worst for a compressed image
        return make_result(
            0.5,
            epochs=tuple(
                {f"mechanism/weight_gradient/{name}": chance.lognormvariate(0, 3) for name in layers} for _ in range(50)
            ),
        )

    report = build_report(make_ledger(tmp_path, one_factor(levels, seeds=2), measured))
    (picture,) = layer_figures(report)
    assert len(picture.svg) < BOUND
    assert [image.shape for image in images_of(picture)][:6] == [(16, 50, 4)] * 6


def test_of_many_epochs_some_are_drawn_including_the_first_and_last(tmp_path):
    def measured(levels, seed):
        return make_result(0.5, epochs=tuple({"mechanism/dead/r": epoch / 199} for epoch in range(200)))

    (picture,) = layer_figures(build_report(make_ledger(tmp_path, one_factor(seeds=2), measured)))
    image, *_ = images_of(picture)
    assert image.shape == (1, 60, 4)
    assert "Drawn: 60 of 200 epochs." in picture.caption
    assert image[0, 0].tolist() != image[0, -1].tolist()
    assert ">199<" in picture.svg


@pytest.mark.slow
def test_figures_of_mechanisms_are_self_contained_and_deterministic(tmp_path):
    report = build_report(inside_ledger(tmp_path))
    figures = figures_of(report)
    assert [picture.svg for picture in figures.layers] == [picture.svg for picture in layer_figures(report)]
    names = [picture.name for picture in figures]
    assert len(names) == len(set(names))
    assert [name for name in names if name.startswith("scalar")] == [
        "scalar-0-0",
        "scalar-1-0",
        "scalar-0-1",
        "scalar-1-1",
    ]
    for picture in (*figures.scalars, *figures.layers):
        root = ET.fromstring(picture.svg)
        assert all(each.attrib["id"].startswith(picture.name) for each in root.iter() if "id" in each.attrib)


def test_ratios_are_averaged_as_logarithms(tmp_path):
    def measured(levels, seed):
        return make_result(0.5, epochs=({"mechanism/weight_gradient_ratio": 10.0**-seed},) * 2)

    report = build_report(make_ledger(tmp_path, one_factor(seeds=3), measured))
    picture = scalar_curves(report, report.study.factors[0], "mechanism/weight_gradient_ratio")
    assert "Means and intervals are those of the logarithm." in picture.caption
    assert "a: 0.1 at epoch 1 (n 3)" in picture.alt
    assert "logarithmic" in picture.svg


def test_a_ratio_that_is_zero_somewhere_is_averaged_arithmetically(tmp_path):
    def measured(levels, seed):
        return make_result(0.5, epochs=({"mechanism/weight_gradient_ratio": float(seed)},) * 2)

    report = build_report(make_ledger(tmp_path, one_factor(seeds=3), measured))
    picture = scalar_curves(report, report.study.factors[0], "mechanism/weight_gradient_ratio")
    assert "logarithm" not in picture.caption + picture.svg
    assert "a: 1 at epoch 1 (n 3)" in picture.alt


def test_the_page_has_a_section_with_the_maps_and_their_numbers(tmp_path):
    html = to_html(build_report(inside_ledger(tmp_path)))
    section = html.partition('<section aria-labelledby="mechanisms">')[2].partition("</section>")[0]
    summaries = re.findall(r"<summary>(.*?)</summary>", section)
    assert summaries[::2][:2] == [
        "Gradient of the weights by layer",
        "Gradient of the activations by layer",
    ]
    assert set(summaries[1::2]) == {"Numbers"}
    assert section.count("<details open>") == 1
    assert section.count("<svg") == 4 + 9
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", section.partition("Norm of the weights by layer")[2])
    assert cells[:5] == ["stem", "5 → 7", "5 → 7", "5 → 7", "5 → 7"]
    assert '<a href="#mechanisms">Mechanisms</a>' in html


def test_a_page_without_mechanisms_does_not_mention_them(tmp_path):
    ledger = make_ledger(tmp_path, one_factor(), lambda _, seed: make_result(0.5 + seed / 10))
    assert "mechanisms" not in to_html(build_report(ledger)).lower()


def test_names_of_layers_are_text(tmp_path):
    name = "</svg><script>alert(1)</script>"

    def measured(levels, seed):
        return make_result(0.5, epochs=({f"mechanism/dead/{name}": 0.5},))

    html = to_html(build_report(make_ledger(tmp_path, one_factor(seeds=2), measured)))
    assert html.count("<script>") == 1


def test_a_curve_of_ratios_states_that_epochs_have_no_mean(tmp_path):
    def measured(levels, seed):
        values = (0.5, 0.25 if seed else float("nan"), 0.125)
        return make_result(0.5, epochs=tuple({"mechanism/weight_gradient_ratio": value} for value in values))

    report = build_report(make_ledger(tmp_path, one_factor(seeds=3), measured))
    picture = scalar_curves(report, report.study.factors[0], "mechanism/weight_gradient_ratio")
    assert "The mean is not drawn in epochs in which a trial has no finite value." in picture.caption


@pytest.mark.slow
def test_maps_precede_curves_on_the_page(tmp_path):
    html = to_html(build_report(inside_ledger(tmp_path)))
    assert html.index("figure-mechanism-weight_norm") < html.index("figure-scalar-0-0")
