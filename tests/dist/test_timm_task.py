from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("timm.task", exc_type=ImportError)
pytestmark = pytest.mark.dist

SCRIPT = str(Path(__file__).with_name("timm_task.py"))


@pytest.fixture(scope="module")
def found(launch, tmp_path_factory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("timm")
    launch(SCRIPT, str(out))
    launch(SCRIPT, str(out), processes=2)
    return [torch.load(out / name) for name in ("1-0.pt", "2-0.pt", "2-1.pt")]


def test_projector_gradients_are_equal_on_both_ranks_and_those_of_one_process(found) -> None:
    one, *ranks = found
    assert max(gradient.abs().max() for gradient in one["projector"]) > 1e-4
    for rank in ranks:
        torch.testing.assert_close(rank["weights"], one["weights"], rtol=0, atol=0)
        torch.testing.assert_close(rank["projector"], one["projector"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(rank["student"], one["student"], rtol=1e-9, atol=1e-12)


def test_accumulated_batches_are_not_reduced_before_the_last(found) -> None:
    one, *ranks = found
    apart = [rank["apart"] for rank in ranks]
    assert not torch.allclose(apart[0][0], apart[1][0])
    mean = [(a + b) / 2 for a, b in zip(*apart, strict=True)]
    torch.testing.assert_close(mean, one["apart"], rtol=1e-9, atol=1e-12)


def test_wrapping_leaves_the_student_as_it_is_for_validation_and_checkpoints(found) -> None:
    one, *ranks = found
    for rank in ranks:
        assert rank["keys"] == one["keys"]
        assert rank["eval"] == one["eval"] == "VisionTransformer"
