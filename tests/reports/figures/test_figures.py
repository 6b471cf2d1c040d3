import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
from make_ledger import make_ledger, make_result, make_study, one_factor
from report_pages import full_report, hostile_report, measure

from reports import build_report, figures_of
from reports.figures import choose_looks, forest, learning_curves, list_curve_kinds, paired_curves, slopes
from reports.figures.drawing import PALETTE, Sheet
from reports.figures.learning_curves import _line


@pytest.mark.parametrize("make", [full_report, hostile_report])
def test_every_figure_is_a_self_contained_svg(make, tmp_path):
    pictures = list(figures_of(make(tmp_path)))
    names = [picture.name for picture in pictures]
    assert len(names) == len(set(names))
    for picture in pictures:
        root = ET.fromstring(picture.svg)
        assert root.attrib["aria-label"]
        assert picture._repr_svg_() == picture.svg
        assert all(each.attrib["id"].startswith(picture.name) for each in root.iter() if "id" in each.attrib)


def test_a_full_report_has_all_kinds_of_figures(tmp_path):
    names = [picture.name for picture in figures_of(full_report(tmp_path))]
    assert names == [
        *("forest", "slopes-0", "slopes-1", "cells", "interaction-0-1", "map-0-1", "shares"),
        *("curves-0-0", "curves-0-1", "curves-1-0", "curves-1-1", "bands-0-0", "bands-1-0"),
    ]


def test_a_level_has_one_colour_in_all_figures(tmp_path):
    report = full_report(tmp_path)
    looks = choose_looks(report.study)
    assert len({look.colour for look in looks.values()}) == 4  # two references are grey alike
    colour = looks["activation", "relu"].colour
    for name in ("forest", "slopes-0", "cells", "curves-0-0", "bands-0-0"):
        (picture,) = [each for each in figures_of(report) if each.name == name]
        assert colour in picture.svg, name


def test_levels_with_the_same_colour_have_different_markers():
    looks = choose_looks(one_factor([f"l{number}" for number in range(20)]))
    others = [(look.colour, look.marker) for (_, level), look in looks.items() if level != "l0"]
    assert len(set(others)) == 19
    assert {colour for colour, _ in others} == set(PALETTE)


def test_the_forest_plot_draws_at_most_forty_effects_and_says_so(tmp_path):
    levels = [f"level{number}" for number in range(60)]
    study = one_factor(levels, seeds=2)
    report = build_report(
        make_ledger(
            tmp_path, study, lambda each, seed: make_result(0.5 + 0.01 * ((len(each["x"]) * seed + hash(seed)) % 7))
        )
    )
    picture = forest(report)
    assert "Drawn: the first 40 of 59 main effects; contrasts.csv has all of them." in picture.caption
    assert ">level40<" in picture.svg
    assert ">level41<" not in picture.svg


def test_slopes_join_only_complete_seeds(tmp_path):
    report = full_report(tmp_path)
    picture = slopes(report, report.study.factor("activation"))
    assert "relu is above sigmoid in" in picture.alt
    assert "of 4 seeds" in picture.alt.partition("relu is above")[2]  # seed 4 diverged


def test_the_metric_of_the_study_is_the_first_curve(tmp_path):
    assert list_curve_kinds(full_report(tmp_path)) == ["acc", "loss"]


def test_one_epoch_one_seed_and_no_epochs_can_be_drawn(tmp_path):
    epochs = ({"train/loss": 0.5, "val/loss": 0.4},)
    for name, given in (("one", epochs), ("none", ())):
        report = build_report(
            make_ledger(tmp_path / name, make_study(seeds=1), lambda *_, given=given: make_result(0.5, epochs=given))
        )
        pictures = list(figures_of(report))
        names = {picture.name.partition("-")[0] for picture in pictures}
        assert names == {"cells", "map"} | ({"curves"} if given else set())
        captions = [
            picture.caption.replace("There are no intervals, since there is one seed", "") for picture in pictures
        ]
        assert not any("interval" in caption or "interaction" in caption for caption in captions)
        assert pictures[0].caption.startswith(
            "Each dot is a trial. There are no intervals, since there is one seed. Rows are"
        )


def test_a_curve_of_one_seed_is_called_a_trial(tmp_path):
    epochs = ({"val/acc": 0.5}, {"val/acc": 0.6})
    ledger = make_ledger(tmp_path, one_factor(seeds=1), lambda *_: make_result(0.5, epochs=epochs))
    (picture,) = [each for each in figures_of(build_report(ledger)) if each.name == "curves-0-0"]
    assert picture.caption.startswith("Each line is a trial. There are no intervals, since there is one seed.")


def test_equal_values_and_negative_losses_can_be_drawn(tmp_path):
    study = one_factor(metric={"name": "val/loss", "goal": "min"})
    epochs = ({"val/loss": -1.0}, {"val/loss": float("nan")}, {"val/loss": -1.0})
    report = build_report(make_ledger(tmp_path, study, lambda *_: make_result(-1.0, metric="val/loss", epochs=epochs)))
    (picture,) = [each for each in figures_of(report) if each.name == "curves-0-0"]
    assert "logarithmic" not in picture.svg


def test_drawing_does_not_change_the_settings_of_matplotlib(tmp_path):
    before = dict(mpl.rcParams)
    with Sheet(100) as sheet:
        sheet.add_text(0, 10, "文字 $x$")  # no glyph, no mathematics, no warning
        assert ">文字 $x$<" in sheet.to_picture(name="n", title="", caption="", alt="").svg
    assert dict(mpl.rcParams) == before


def test_a_diverged_trial_is_marked_and_counted(tmp_path):
    report = full_report(tmp_path)
    (picture,) = [each for each in figures_of(report) if each.name == "curves-0-0"]
    assert "A cross marks the epoch in which a trial diverged." in picture.caption
    assert "relu: train 0.8, val 0.8 at epoch 3 (n 5), 1 trial diverged" in picture.alt


def stopped_early(levels, seed):
    """Return a result that, at level b, stops after 2, 3 and 4 epochs in seeds 0, 1 and 2."""
    length = seed + 2 if levels["x"] == "b" else 5
    bonus = 0.2 if levels["x"] == "b" else 0.1
    epochs = tuple({"val/acc": bonus + 0.1 * epoch + 0.01 * seed**2} for epoch in range(length))
    return make_result(epochs[-1]["val/acc"], epochs=epochs)


def test_a_mean_curve_ends_with_the_first_trial_of_its_level(tmp_path):
    report = build_report(make_ledger(tmp_path, one_factor(seeds=3), stopped_early))
    picture = learning_curves(report, report.study.factors[0], "acc")
    assert "The mean ends when the first trial of a level stopped early." in picture.caption
    # b at epoch 1: 0.30, 0.31 and 0.34; a at epoch 4: 0.50, 0.51 and 0.54.
    assert "a: val 0.517 at epoch 4 (n 3); b: val 0.317 at epoch 1 (n 3)." in picture.alt
    (line,) = [_line(report.curves[report.curves["x"] == "b"], "val", "val/acc", 0.0)]
    assert line.band_epochs.tolist() == [0, 1]
    assert line.epochs.tolist() == [0, 1, 2, 3]
    assert np.isfinite(line.seeds).sum(axis=0).tolist() == [2, 3, 4]


def test_paired_curves_state_their_number_of_seeds_and_their_end(tmp_path):
    report = build_report(make_ledger(tmp_path, one_factor(seeds=3), stopped_early))
    picture = paired_curves(report, report.study.factors[0], "val/acc")
    assert "All epochs have the same 3 seeds. A band ends when the first of its trials stopped" in picture.caption
    assert "b +0.1 (" in picture.alt
    assert "at epoch 1 (n 3)." in picture.alt


def test_captions_mention_early_stopping_only_if_a_trial_stopped(tmp_path):
    assert not any("stopped early" in picture.caption for picture in figures_of(full_report(tmp_path)))


def test_the_line_of_a_seed_has_the_same_trials_in_every_epoch(tmp_path):
    def measured(levels, seed):
        length = 2 if levels == {"activation": "relu", "init": "he"} else 4
        epochs = tuple({"val/acc": (0.9 if length == 2 else 0.5) + 0.01 * seed} for _ in range(length))
        return make_result(0.5, epochs=epochs)

    report = build_report(make_ledger(tmp_path, make_study(seeds=2), measured))
    line = _line(report.curves[report.curves["activation"] == "relu"], "val", "val/acc", 0.0)
    assert line.epochs.tolist() == [0, 1]
    assert line.band[:, 0] == pytest.approx([0.705, 0.705])


def test_text_width_is_estimated_from_above(tmp_path):
    assert measure({"activation": "relu", "init": "he"}, 4).diverged_epoch == 1


def texts_of(picture):
    """Return each text of a drawing with its left end, right end (letters 0.55 em wide) and height."""
    for each in ET.fromstring(picture.svg).iter("{http://www.w3.org/2000/svg}text"):
        style = each.attrib.get("style", "")
        size = float(
            style.partition("font-size: ")[2].partition("px")[0]
            or style.partition("font: ")[2].split("px")[0].split()[-1]
        )
        transform = each.attrib.get("transform", "")
        x, y = (
            map(float, transform.partition("translate(")[2].partition(")")[0].split())
            if "translate" in transform
            else (float(each.attrib["x"]), float(each.attrib["y"]))
        )
        width = 0.55 * size * len(each.text)
        anchor = style.partition("text-anchor: ")[2].partition(";")[0]
        start = x - {"middle": width / 2, "end": width}.get(anchor, 0.0)
        yield each.text, start, start + width, y


def assert_texts_stand_apart(picture):
    texts = list(texts_of(picture))
    for number, (words, start, end, y) in enumerate(texts):
        for other, start_of_other, end_of_other, y_of_other in texts[number + 1 :]:
            apart = abs(y - y_of_other) > 8 or end <= start_of_other or end_of_other <= start
            assert apart, (words, other)


@pytest.mark.parametrize(("shift", "step"), [(-0.3, 0.001), (-0.00003, 0.018506)])
def test_texts_of_a_forest_plot_do_not_overlap(shift, step, tmp_path):
    def measured(levels, seed):
        return make_result(0.9 if levels["x"] == "a" else 0.9 + shift + step * (seed - 2))

    study = one_factor(["a", "c" * 60], metric={"name": "test/acc", "margin": 0.01})
    picture = forest(build_report(make_ledger(tmp_path, study, measured)))
    assert ">margin ±0.01<" in picture.svg
    assert_texts_stand_apart(picture)


def test_a_long_factor_name_fits_next_to_short_levels(tmp_path):
    factors = {"x": {"key": "model.init_args.x", "levels": ["1", "2"]}}
    factors["weight_decay"] = {"key": "model.init_args.w", "levels": ["3", "4"]}
    report = build_report(make_ledger(tmp_path, make_study(factors=factors), lambda _, seed: make_result(0.5 + seed)))
    (picture,) = [each for each in figures_of(report) if each.name == "interaction-0-1"]
    assert ">weight_decay<" in picture.svg
    assert max(end for _, _, end, _ in texts_of(picture)) <= 760
