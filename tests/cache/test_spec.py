"""Layouts: their bytes, and what makes none."""

import pytest

from tutelage.cache import Layout, TapSpec
from tutelage.cache.spec import Column
from tutelage.errors import InputError


def test_a_top_10_row_takes_at_most_52_bytes() -> None:
    assert Layout(num_classes=1000, top_k=10).row_bytes == 48
    assert Layout(num_classes=65_536, top_k=10, temperatures=(4.0, 1.0)).row_bytes == 52
    assert Layout(num_classes=65_537, top_k=10).row_bytes == 68


def test_a_dense_half_precision_row_of_a_thousand_classes_takes_2006_bytes() -> None:
    assert Layout(num_classes=1000).row_bytes == 2006


def test_the_widest_columns_come_first_so_that_all_are_aligned() -> None:
    layout = Layout(num_classes=9, top_k=3, temperatures=(2, 8), taps=(TapSpec("z", (3,)),))
    sizes = [column.numpy.itemsize for column in layout.columns]
    assert sizes == sorted(sizes, reverse=True)
    assert Column("log_total@2.0", "F32") in layout.payload
    assert {c.name for c in layout.columns} - {c.name for c in layout.payload} == {
        "mark",
        "crc",
        "done",
    }


def test_temperatures_are_sorted_and_one_is_always_there() -> None:
    assert Layout(num_classes=9, top_k=3, temperatures=(8, 1, 2.0, 8)).temperatures == (2.0, 8.0)
    assert Layout(num_classes=9, temperatures=(8,)).temperatures == ()


def test_a_layout_survives_json() -> None:
    layout = Layout(
        num_classes=9, top_k=3, temperatures=(2.5,), dtype="bf16", taps=(TapSpec("a", (2, 3)),)
    )
    assert Layout.from_json(layout.to_json()) == layout


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "expected logits or taps to keep"),
        ({"top_k": 3, "taps": (TapSpec("a", (2,)),)}, "expected logits or taps to keep"),
        ({"num_classes": 1}, "num_classes: expected at least 2"),
        ({"num_classes": 9, "top_k": 0}, "top_k: expected a finite number of at least 1"),
        ({"num_classes": 9, "top_k": 2.5}, "top_k: expected a whole number"),
        ({"num_classes": 9, "dtype": "int8"}, "expected one of fp32, fp16, bf16"),
        ({"num_classes": 9, "views": 0}, "cache views: expected"),
        ({"num_classes": 9, "top_k": 2, "temperatures": (0,)}, "cache temperatures: expected"),
        ({"taps": (TapSpec("a", (2,)), TapSpec("a", (3,)))}, "expected each name once"),
    ],
)
def test_what_is_no_layout_is_refused(options: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Layout(**options)


def test_a_tap_has_a_size_on_each_axis() -> None:
    with pytest.raises(InputError, match="tap shape"):
        TapSpec("a", (3, 0))
