import pytest
import torch
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from tutelage.taps import Taps


@pytest.fixture
def _group():
    """A process group of one: the wrappers do all their work, alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


class Wrapper(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(inplace=True), nn.Linear(6, 2)
        )
        self.projector = nn.Linear(6, 3)
        self.taps = Taps(self.model, ["1", "3:in"])

    def forward(self, x):
        logits = self.model(x)
        taps = self.taps.read(require_grad=True)
        return logits.sum() + sum(self.projector(tap).square().sum() for tap in taps.values())


def ddp(wrapper):
    return DistributedDataParallel(wrapper, find_unused_parameters=False)


def ddp_that_looks_for_unused(wrapper):
    return DistributedDataParallel(wrapper, find_unused_parameters=True)


def fsdp2(wrapper):
    mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
    fully_shard(wrapper.model[0], mesh=mesh)
    return fully_shard(wrapper, mesh=mesh)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("wrap", [ddp, ddp_that_looks_for_unused, fsdp2])
@pytest.mark.usefixtures("_group")
def test_gradients_through_taps_are_exact_inside_a_distributed_wrapper(wrap):
    plain, wrapped = Wrapper(), wrap(Wrapper())
    for _ in range(2):
        x = torch.randn(8, 4)
        plain.zero_grad()
        wrapped.zero_grad()
        plain(x).backward()
        wrapped(x).backward()
        for expected, found in zip(plain.parameters(), wrapped.parameters(), strict=True):
            grad = found.grad.full_tensor() if wrap is fsdp2 else found.grad
            torch.testing.assert_close(grad, expected.grad)
