import pytest
from tiny_catalogue import write_catalogue

from experiments import InputError, StudyError, build_cells, load_study, shipped_studies
from experiments.study import parse as study_file
from experiments.study.catalogue import CHAPTERS, NO_CHAPTER, group_by_chapter, load_catalogue, select_chapter

FACTOR = {"activation": {"key": "model.init_args.activation", "levels": ["tanh", "relu", "elu"]}}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    folder = write_catalogue(
        tmp_path / "studies",
        late={"chapter": "Text", "minutes": 1},
        dear={"chapter": "Activations", "minutes": 9, "factors": FACTOR, "exclude": [{"activation": "elu"}]},
        cheap={"chapter": "Activations", "minutes": 0.5, "folds": 3, "seeds": 3},
        unknown={"chapter": "Activations"},
        other={"chapter": "Zoology", "minutes": 1},
        none={"minutes": 1, "factors": FACTOR, "seeds": [4, 9]},
    )
    monkeypatch.setattr(study_file, "SHIPPED", folder)
    return folder


def test_studies_are_sorted_by_chapter_and_then_by_duration(tiny):
    entries = load_catalogue()
    assert [entry.name for entry in entries] == ["cheap", "dear", "unknown", "late", "other", "none"]
    assert list(group_by_chapter(reversed(entries))) == ["Activations", "Text", "Zoology", NO_CHAPTER]
    sizes = {entry.name: (entry.num_cells, entry.num_seeds, entry.num_trials, entry.unit) for entry in entries}
    assert sizes["dear"] == (2, 2, 4, "seed")
    assert sizes["cheap"] == (2, 3, 6, "fold")
    assert sizes["none"] == (3, 2, 6, "seed")


@pytest.mark.parametrize(("asked", "found"), [("text", ["late"]), (" ACTIV", ["cheap", "dear", "unknown"])])
def test_a_chapter_is_found_in_any_case_and_by_its_beginning(tiny, asked, found):
    assert [entry.name for entry in select_chapter(load_catalogue(), asked)] == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("Activatoins", "--chapter 'Activatoins': there is no such chapter; did you mean 'Activations'? chapters: Act"),
        ("", "--chapter '': there is no such chapter; chapters: Activations, Text, Zoology, Other studies"),
    ],
)
def test_an_unknown_chapter_names_the_nearest(tiny, asked, message):
    with pytest.raises(InputError) as raised:
        select_chapter(load_catalogue(), asked)
    assert str(raised.value).startswith(message)


def test_a_beginning_of_two_chapters_names_both(tmp_path, monkeypatch):
    folder = write_catalogue(tmp_path / "s", a={"chapter": "Recurrence"}, b={"chapter": "Regression"})
    monkeypatch.setattr(study_file, "SHIPPED", folder)
    with pytest.raises(
        InputError, match="--chapter 're': more than one chapter begins so; chapters: Recurrence, Regression"
    ):
        select_chapter(load_catalogue(), "re")


ODD = {
    "aliases": "base: &b {model: {class_path: M}}\nquestion: Q?\nfactors:\n  f: {key: model.x, levels: [1, 2]}\n"
    "metric: {name: f1}\nexclude: [{f: 2}]\n",
    "quoted keys": "'question': Q?\n\"factors\": {f: {key: model.x, levels: [1, 2]}}\nbase: {}\nmetric: {name: f1}\n",
    "a quoted key that may be left out": "question: Q?\nfactors: {f: {key: model.x, levels: [1, 2]}}\nbase: {}\n"
    '"exclude":\n- f: 2\nmetric: {name: f1}\n',
    "a document mark": "---\nquestion: Q?\nfactors: {f: {key: model.x, levels: [1, 2]}}\nbase: {}\n"
    "metric: {name: f1}\n",
    "flow": "{question: Q?, base: {}, factors: {f: {key: model.x, levels: [1, 2]}}, metric: {name: f1}}\n",
    "comments between": "question: Q?\n# claims:\nbase: {}\nfactors:\n# a remark\n  f: {key: model.x, levels: [1, 2]}\n"
    "metric: {name: f1}\nclaims:\n  c: {factor: f, better: 2, than: 1, says: more}\n",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_listed_keys_are_parsed_as_in_the_whole_file(text):
    (entry,) = load_catalogue({"odd": text})
    assert (entry.question, entry.num_cells, entry.num_seeds) == ("Q?", 1 if "exclude" in text else 2, 5)


def test_a_file_with_problems_is_an_error(tiny):
    (tiny / "bad.yaml").write_text("question: Q?\nseeds: 0\n")
    with pytest.raises(StudyError, match=r"studies/bad.yaml has 4 problems"):
        load_catalogue()
    with pytest.raises(StudyError, match=r"studies/bad.yaml: is empty; a study is a mapping with"):
        load_catalogue({"bad": "# nothing\n"})


def test_the_catalogue_agrees_with_the_files_of_the_shipped_studies():
    entries = {entry.name: entry for entry in load_catalogue()}
    assert entries.keys() == shipped_studies().keys()
    for name, entry in entries.items():
        study = load_study(name)
        assert (entry.question, entry.chapter, entry.minutes) == (study.question, study.chapter, study.minutes)
        assert (entry.num_cells, entry.num_seeds, entry.unit) == (len(build_cells(study)), len(study.seeds), study.unit)


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_has_a_chapter_of_the_course_minutes_and_a_claim(name):
    study = load_study(name)
    assert study.chapter in CHAPTERS
    assert study.minutes is not None
    assert study.claims
    assert all(claim.says for claim in study.claims)
