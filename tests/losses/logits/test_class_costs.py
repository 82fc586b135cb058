"""Costs between classes, against loops over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses.logits.class_costs import class_costs


def reference(vectors, similarity, sharpness):
    """1 - exp(-kappa (1 - s)), s the cosine, or the alignment of two centred kernels x x^T."""
    width, table = len(vectors[0]), []
    for x in vectors:
        row = []
        for y in vectors:
            if similarity == "cosine":
                s = sum(a * b for a, b in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)
            else:
                k, m = (centred([[a * b for b in v] for a in v]) for v in (x, y))
                pairs = [(k, m), (k, k), (m, m)]
                km, kk, mm = (
                    sum(one[i][j] * other[i][j] for i in range(width) for j in range(width))
                    for one, other in pairs
                )
                s = km / math.sqrt(kk * mm)
            row.append(1 - math.exp(-sharpness * (1 - s)))
        table.append(row)
    return table


def centred(kernel):
    n = len(kernel)
    rows = [sum(row) / n for row in kernel]
    mean = sum(rows) / n
    return [[kernel[i][j] - rows[i] - rows[j] + mean for j in range(n)] for i in range(n)]


@pytest.mark.parametrize("similarity", ["cosine", "cka"])
@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_equals_the_reference(similarity, sharpness):
    vectors = torch.randn(4, 7, dtype=torch.float64)
    expected = torch.tensor(reference(vectors.tolist(), similarity, sharpness)).double()
    found = class_costs(vectors, similarity=similarity, sharpness=sharpness)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert found.diagonal().eq(0).all()
    assert torch.equal(found, found.mT)


def test_known_numbers():
    # The second is the first times -2: the cosine is -1, the squared correlation 1.
    vectors = torch.tensor([[1.0, 2.0, 6.0], [-2.0, -4.0, -12.0]])
    assert class_costs(vectors)[0, 1].item() == pytest.approx(1 - math.exp(-2))
    assert class_costs(vectors, similarity="cka")[0, 1].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("similarity", ["cosine", "cka"])
def test_a_vector_of_zeros_is_like_no_other(similarity):
    found = class_costs(torch.tensor([[0.0, 0.0], [1.0, -2.0]]), similarity=similarity)
    assert found[0, 1].item() == pytest.approx(1 - math.exp(-1))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"expected one vector for each class.*found \[3\]"):
        class_costs(torch.zeros(3))
    with pytest.raises(InputError, match=r"class_costs.similarity: expected one of cosine, cka"):
        class_costs(torch.zeros(3, 2), similarity="dot")
    with pytest.raises(InputError, match=r"class_costs.sharpness: expected a finite number"):
        class_costs(torch.zeros(3, 2), sharpness=0)
