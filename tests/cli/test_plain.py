"""Pages as text for a terminal."""

import pytest

from tutelage.cli.plain import formula, plain


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\frac{1}{|D|} \sum_{d} \frac{(\mu_d - t_d)^2}{\omega_{c(d)}^2}",
         "1 / |D| Σ_d ((μ_d - t_d)^2) / (ω_(c(d))^2)"),
        (r"\left[ \tfrac12 \log x \right]", "[ 1/2 log x ]"),
        (r"\hat p^t_c \ne \mathrm{softmax}(z)", "p̂^t_c ≠ softmax(z)"),
        (r"z_{\hat y} - \frac{\bar z}{\hat{y}}", "z_ŷ - z̄ / ŷ"),
        (r"\sqrt{x^{\top} y} \le \{1, 2\}", "√(xᵀ y) ≤ {1, 2}"),
        (r"\frac{a}{\frac{b}{c}}", "a / (b / c)"),
        (r"x \unknown y", "x unknown y"),
    ],
)  # fmt: skip
def test_a_formula_reads_as_text(latex: str, text: str) -> None:
    assert formula(latex) == text


def test_a_page_reads_without_marks() -> None:
    page = (
        "# Title\n\nWords of `code` and $`\\beta`$, [here](https://x.org/1).\n\n"
        "```math\n\\beta^2\n```\n\n- one\n- two\n\n"
        "| option | default | meaning |\n|---|---|---|\n| `a` | `1` | b \\| c |\n\n"
        "| change | value |\n|---|---|\n| batch | x 1 |\n"
    )
    assert plain(page).split("\n\n") == [
        "Title\n=====",
        "Words of code and β, https://x.org/1.",
        "    β^2",
        "- one\n- two",
        "a = 1: b | c",
        "change  value\nbatch   x 1\n",
    ]


def test_no_line_of_prose_is_too_long() -> None:
    assert max(map(len, plain("word " * 100).split("\n"))) <= 80
