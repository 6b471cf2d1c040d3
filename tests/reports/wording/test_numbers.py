import math

from hypothesis import given
from hypothesis import strategies as st

from experiments.text import escape_controls
from reports.wording.numbers import choose_decimals, format_number, format_p_value


@given(st.text())
def test_visible_text_is_one_printable_line(text):
    assert escape_controls(text).isprintable()


def test_escape_sequences_of_a_terminal_are_shown():
    assert escape_controls("\x1b[31mred\u202e") == "\\x1b[31mred\\u202e"


def test_two_digits_of_the_half_width_are_shown():
    assert choose_decimals([0.5, 0.4877, 0.5123], 0.0123) == 3
    assert choose_decimals([1234.5, 1000.0, 1469.0], 234.5) == 0


def test_rounding_never_crosses_zero_or_the_margin():
    assert choose_decimals([0.0061, -0.0001, 0.0123], 0.0062) == 4
    assert format_number(0.00196, choose_decimals([0.00196], 0.0009, (0.0, 0.002)), signed=True) == "+0.00196"


def test_the_sign_of_a_number_that_rounds_to_zero_is_kept():
    assert format_number(1e-17, 4, signed=True) == "+0.0000"
    assert format_number(-1e-17, 4, signed=True) == "-0.0000"


def test_nan_and_infinity_have_their_own_texts():
    assert format_number(math.nan, 2) == "-"
    assert format_number(math.inf, 2, signed=True) == "+inf"
    assert format_number(-math.inf, 2, signed=True) == "-inf"


def test_very_small_and_very_large_numbers_are_scientific():
    assert format_number(1.234e-12, choose_decimals([1.234e-12], 3e-13), signed=True) == "+1.2e-12"
    assert format_number(123456789012.0, 0) == "1.235e+11"


@given(st.floats(min_value=0, max_value=1))
def test_a_p_value_is_on_its_side_of_five_percent(p_value):
    text = format_p_value(p_value)
    shown = 0.0 if text.startswith("<") else float(text)
    assert (shown < 0.05) == (p_value < 0.05)
