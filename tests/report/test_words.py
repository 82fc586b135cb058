import pytest

from tutelage.report import words
from tutelage.report.safe import script_json, visible


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "+4.0"), (-0.753, "-75.3"), (0.0, "+0.0"), (0.0002, "+0.02"), (None, "-")],
)
def test_differences_are_signed_points_and_small_ones_do_not_read_as_nothing(value, text):
    assert words.points(value) == text


def test_missing_numbers_are_a_dash_in_every_wording():
    every = (words.percent, words.spread, words.interval, words.wins, words.decimal, words.count)
    assert {word(None) for word in (*every, words.duration)} == {"-"}


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\x00", "\x1b", "\u2028", "\ud800", "\ufeff"])
def test_marks_that_cannot_be_seen_are_spelled_out(sign):
    assert visible(f"a{sign}b") == f"a\\u{ord(sign):04x}b"


def test_letters_of_all_scripts_stay_as_they_are():
    assert visible("é ש 中 👩‍🔬\n\t") == "é ש 中 👩‍🔬\n\t"


def test_json_in_a_page_holds_no_sign_that_could_end_its_block():
    text = str(script_json({"</script><!--": ["&", "\u2028"]}))
    assert not set("<>&\u2028") & set(text)


def test_json_in_a_page_refuses_what_is_not_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))
