from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("fastai", reason="fastai is not installed")
pytest.importorskip("accelerate", reason="fastai trains in several processes with accelerate alone")
pytestmark = pytest.mark.dist

SCRIPT = str(Path(__file__).with_name("fastai_learner.py"))


@pytest.fixture(scope="module")
def found(launch, tmp_path_factory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("fastai")
    # fastai and its packages warn when they are imported.
    launch(SCRIPT, str(out), strict=False)
    launch(SCRIPT, str(out), processes=2, strict=False)
    return [torch.load(out / name) for name in ("1-0.pt", "2-0.pt", "2-1.pt")]


def test_projector_gradients_are_equal_on_both_ranks_and_those_of_one_process(found) -> None:
    one, *ranks = found
    assert one["model"] == "Distilled"
    assert max(gradient.abs().max() for gradient in one["projector"]) > 1e-4
    for rank in ranks:
        assert rank["model"] == "DistributedDataParallel"
        torch.testing.assert_close(rank["projector"], one["projector"], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(rank["student"], one["student"], rtol=1e-5, atol=1e-7)


def test_both_processes_end_with_the_weights_of_one_projectors_included(found) -> None:
    one, *ranks = found
    for rank in ranks:
        for name in ("objective", "weights"):
            torch.testing.assert_close(rank[name], one[name], rtol=1e-4, atol=1e-6)


def test_the_learner_has_its_bare_student_back(found) -> None:
    assert all(each["bare"] for each in found)


def test_validation_shows_the_losses_and_terms_of_one_process(found) -> None:
    one, *ranks = found
    assert len(one["values"]) == 4  # two losses and two columns of terms
    for rank in ranks:
        assert rank["values"][1:] == pytest.approx(one["values"][1:], rel=1e-4)
