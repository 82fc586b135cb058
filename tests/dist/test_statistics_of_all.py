"""Statistics over two processes with half a batch each are those of one with the whole."""

from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.dist

WORKER = Path(__file__).with_name("statistics_of_all.py")


@pytest.fixture(scope="module")
def found(launch, tmp_path_factory):
    """The outcomes of one process, and of each of two."""
    folder = tmp_path_factory.mktemp("statistics")
    for processes in (1, 2):
        launch(str(WORKER), str(folder), processes=processes)
    return [torch.load(folder / f"{name}.pt") for name in ("1-0", "2-0", "2-1")]


def test_positions_that_one_process_drops_count_for_none(found):
    (value, gradient), *halves = (outcome["holes"] for outcome in found)
    for half in halves:
        torch.testing.assert_close(half[0], value)
    # Each process's samples get the sum over both; DDP's mean over processes halves it.
    torch.testing.assert_close(torch.cat([half[1] for half in halves]) / 2, gradient)


def test_the_teacher_is_whitened_by_the_whole_batch(found):
    (value, gradient), *halves = (outcome["whitened"] for outcome in found)
    # The value is a mean over each process's own samples.
    torch.testing.assert_close(torch.stack([half[0] for half in halves]).mean(), value)
    torch.testing.assert_close(torch.cat([half[1] for half in halves]) / 2, gradient)
    assert not torch.allclose(halves[0][0], value)
