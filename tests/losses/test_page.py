"""Pages of losses, on a loss made up for it."""

import math

import pytest

from tutelage.errors import InputError
from tutelage.losses import CELoss, CRDLoss, KDLoss, index
from tutelage.losses.docstrings import parse
from tutelage.losses.page import brief, dependence, family, needs, page


def example(student: float, teacher: float, *, power: int = 2) -> float:
    r"""Measure nothing in particular.

    .. math:: \sum_c a_c \qquad
        b = 1

    with :func:`~a.b.helper` and :math:`\beta`.

    Args:
        student: Of shape ``[B, C]``.
        teacher: The same,
            in two lines.
        power: From 1.

    Raises:
        ValueError: Never.

    After the sections:

    >>> example(1, 2)
    3
    """
    return student + teacher


def test_a_docstring_falls_into_its_parts() -> None:
    found = parse(example)
    assert found.summary == "Measure nothing in particular."
    assert found.options == {
        "student": "Of shape `[B, C]`.",
        "teacher": "The same, in two lines.",
        "power": "From 1.",
    }
    assert found.raises == {"ValueError": "Never."}
    assert found.sees == ("helper",)
    formula, words, after, doctest = found.body.split("\n\n")
    assert formula == "```math\n\\sum_c a_c \\qquad\nb = 1\n```"
    assert words == "with `helper` and $`\\beta`$."
    assert after == "After the sections:"
    assert doctest == "```pycon\n>>> example(1, 2)\n3\n```"


def test_a_page_says_all_there_is() -> None:
    text = page("kd")
    assert text.startswith("# KDLoss\n\nSoftened divergence")
    assert 'KDLoss(temperature=4.0, variant="paper", ignore_index=-100)' in text
    assert "[1503.02531](https://arxiv.org/abs/1503.02531)" in text
    assert "T^2 \\, \\mathrm{KL}(p \\,\\|\\, q)" in text
    assert '| `variant` | `"paper"` |' in text
    assert "smaller by the factor C" in text
    assert "| twice the batch | x 1.00 | x 0.71 |" in text


def test_every_page_has_its_sections_and_no_marks_of_docstrings() -> None:
    for name in index():
        text = page(name)
        for title in ("## Needs", "## Formula", "```math", "## Options"):
            assert title in text, name
        for mark in (":math:", ":class:", ":func:", "``[", ".. math", "doctest:", "\n\n\n"):
            assert mark not in text, name
        assert all(math.isfinite(x) for found in dependence()["losses"].values()
                   for ratios in found["ratios"].values() for x in ratios)  # fmt: skip


def test_effects_are_quoted_where_they_are_measured() -> None:
    one = {"arm": "kd T=4", "delta": 0.0123, "ci95": [0.004, 0.02], "seeds": 5, "where": "digits"}
    assert "## Effect" not in page("kd")
    found = page("kd", {"kd": [one, {**one, "where": "fashion", "delta": -0.05}]})
    assert (
        "- digits, arm `kd T=4`: +1.2 points (95% interval +0.4 to +2.0, 5 paired seeds)" in found
    )
    assert "- fashion, arm `kd T=4`: -5.0 points" in found


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"there is no 'kdd' \(did you mean 'kd'"):
        page("kdd")


def test_the_index_says_family_matter_and_needs() -> None:
    assert (family(KDLoss), family(CRDLoss)) == ("logits", "relations")
    assert brief(KDLoss) == "Softened divergence from the teacher"
    assert (needs(KDLoss), needs(CELoss), needs(CRDLoss)) == ("", "no teacher, target", "ids")
