import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.dist

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from records.cases import cases  # noqa: E402

SCRIPT = str(Path(__file__).with_name("relations.py"))
NAMES = sorted(c.name for c in cases() if c.kind.compares_samples or c.kind.needs_ids)
SPLITS = (4, 5, 1, 8)  # how many of 8 samples the first process has: the last leaves the other none


@pytest.fixture(scope="module")
def one(launch, tmp_path_factory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("one")
    launch(SCRIPT, str(out))
    return torch.load(out / "1-0.pt")["8"]


@pytest.fixture(scope="module")
def ranks(launch, tmp_path_factory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("ranks")
    launch(SCRIPT, str(out), processes=2)
    return [torch.load(out / f"2-{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("first", SPLITS)
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_have_value_gradient_and_state_of_one(one, ranks, name, first) -> None:
    one, ranks = one[name], [found[str(first)][name] for found in ranks]
    kind = next(c.kind for c in cases() if c.name == name)
    if kind.compares_samples:
        values = [found["values"] for found in ranks]
    else:  # each process has the mean over its own samples
        mean = [
            (first * a + (8 - first) * b) / 8
            for a, b in zip(*(found["values"] for found in ranks), strict=True)
        ]
        values = [mean]
    for found in values:
        assert found == pytest.approx(one["values"], rel=1e-9)
    for found in ranks:
        assert one["gradients"]["student.weight"].abs().max() > 1e-6
        torch.testing.assert_close(found["gradients"], one["gradients"], rtol=1e-7, atol=1e-10)
        torch.testing.assert_close(found["state"], one["state"])


def test_what_is_unusual_is_gathered_too(ranks) -> None:
    for rank, found in enumerate(each["odd"] for each in ranks):
        for dtype in (torch.bool, torch.int64, torch.float16, torch.bfloat16):
            expected = torch.tensor([[0.0], [1.0], [2.0]]).to(dtype)
            torch.testing.assert_close(found[str(dtype)], expected)
        # Both processes send their gradients: once and twice the place in the whole batch.
        expected = 3 * torch.arange(5.0)[:2] if rank == 0 else 3 * torch.arange(5.0)[2:]
        torch.testing.assert_close(found["gradient"], expected)
        rows = torch.arange(6.0).view(2, 3).mT
        torch.testing.assert_close(found["transposed"], torch.cat([rows, rows]))
        assert len(found["alone"]) == 2 + rank
        assert "expected equal features in every process, found [2, " in found["width"]
        assert "found [2, 2] in process 0" in found["axes"] or rank == 1
