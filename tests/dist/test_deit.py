"""Distillation tokens in two processes: the gradients of one, in both."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.dist

SCRIPT = str(Path(__file__).with_name("deit.py"))
KINDS = ("hint", "soft", "hard", "none", "all", "cosub")


@pytest.fixture(scope="module")
def one(launch, tmp_path_factory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("one")
    launch(SCRIPT, str(out))
    return torch.load(out / "1-0.pt")


@pytest.fixture(scope="module")
def ranks(launch, tmp_path_factory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("ranks")
    launch(SCRIPT, str(out), processes=2)
    return [torch.load(out / f"2-{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_have_the_gradients_of_one_on_the_joined_batch(one, ranks, kind) -> None:
    alone, found = one[kind], [each[kind] for each in ranks]
    mean = torch.tensor([each["losses"] for each in found]).mean(0)
    torch.testing.assert_close(mean, torch.tensor(alone["losses"]))
    for each in found:
        assert each["gradients"].keys() == alone["gradients"].keys()
        torch.testing.assert_close(each["gradients"], alone["gradients"], rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(found[0]["gradients"], found[1]["gradients"], rtol=0, atol=0)


def test_the_projector_learns_in_both_processes(ranks) -> None:
    names = [name for name in ranks[0]["hint"]["gradients"] if ".via." in name]
    assert len(names) == 2
    for name in names:
        mine, other = (each["hint"]["gradients"][name] for each in ranks)
        assert torch.equal(mine, other)
        assert mine.abs().max() > 1e-6
