"""Hints, against a loop over Python floats."""

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import HintLoss
from tutelage.losses.features.hint import feature_distance


def reference(student, teacher, variant):
    total = sum((s - t) ** 2 for s, t in zip(student, teacher, strict=True))
    return total / 2 if variant == "paper" else total / len(student)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", ["mean", "paper"])
@pytest.mark.parametrize("shape", [(6, 5), (1, 1), (3, 4, 7), (2, 3, 4, 5)])
def test_equals_the_reference(shape, variant, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)
    rows = zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True)
    expected = torch.tensor([reference(*row, variant) for row in rows], dtype=dtype)
    torch.testing.assert_close(feature_distance(student, teacher, variant=variant), expected)
    torch.testing.assert_close(HintLoss(variant=variant)(student, teacher), expected.mean())


def test_a_known_number():
    # Differences 1, 2, 3, 4 in one sample: 30 / 4, and 30 / 2 as the paper writes it.
    student, teacher = torch.zeros(1, 2, 2), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert HintLoss()(student, teacher) == 7.5
    assert HintLoss(variant="paper")(student, teacher) == 15


def test_a_common_rotation_of_the_features_changes_nothing():
    student, teacher = torch.randn(2, 8, 6, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    loss = HintLoss()
    torch.testing.assert_close(loss(student @ rotation, teacher @ rotation), loss(student, teacher))


def test_a_nan_feature_is_not_hidden():
    student = torch.full((2, 3), torch.nan)
    assert HintLoss()(student, torch.zeros(2, 3)).isnan()


@pytest.mark.parametrize(
    ("student", "teacher", "advice"),
    [
        (
            (8, 64, 14, 14),
            (8, 256, 14, 14),
            r'via="auto" to the Term, or via=tl.ConvProjector\(64, 256\)',
        ),
        ((8, 64, 14, 14), (8, 256, 7, 7), r"tl.ConvProjector\(64, 256, size=\(7, 7\)\)"),
        ((8, 32), (8, 64), r"tl.LinearProjector\(32, 64\)"),
        ((8, 10, 32), (8, 10, 64), r"tl.LinearProjector\(32, 64\)"),
        ((8, 10, 32), (8, 64, 7, 7), 'add via="auto" to the Term$'),
        ((8, 64, 7, 7), (1, 64, 7, 7), "both must come from the same batch"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_the_projector_to_use(student, teacher, advice):
    with pytest.raises(
        ShapeError, match=rf"HintLoss: .*found student .* vs teacher .*; .*{advice}"
    ):
        HintLoss()(torch.zeros(student), torch.zeros(teacher))


def test_a_single_axis_is_refused():
    with pytest.raises(ShapeError, match=r"at least two axes, found \[8\]; keep the feature axis"):
        HintLoss()(torch.zeros(8), torch.zeros(8))


def test_an_unknown_variant_is_refused():
    with pytest.raises(InputError, match=r"HintLoss.variant: expected one of mean, paper"):
        HintLoss(variant="sum")
