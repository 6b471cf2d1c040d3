from pathlib import Path

from ablate.exit_codes import MEANINGS, RESERVED, ExitCode, describe_exit_codes

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_each_code_has_one_meaning():
    assert MEANINGS.keys() | RESERVED.keys() == set(ExitCode)
    assert not MEANINGS.keys() & RESERVED.keys()


def test_exit_codes_never_change():
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0,
        "SOME_FAILED": 1,
        "WRONG_INPUT": 2,
        "CLAIM_NOT_MET": 3,
        "OUTPUT_ERROR": 74,
        "CHECKPOINTED": 75,
        "INTERRUPTED": 130,
    }


def test_readme_has_the_same_table():
    text = " ".join(README.split())
    assert describe_exit_codes() in text
    for code, meaning in RESERVED.items():
        assert f"{code.value} ({meaning})" in text
