"""The processes of one training, as torchrun starts them; a single process is the simplest case.

``torchrun --nproc-per-node 2 script.py`` runs the script once per process and tells each its
rank through the environment. gloo connects processes on CPUs, nccl those on GPUs.
"""

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tutelage.errors import InputError, TutelageError

Value = TypeVar("Value")
_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Ranks:
    """This process among all that train together.

    Args:
        rank: Number of this process, from 0.
        world_size: How many processes there are.
        device: Where this process computes.
    """

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the log, the checkpoints and the messages."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return ``module``, under DDP if there are several processes."""
        if self.world_size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices)

    def without_sync(self, wrapped: nn.Module, *, skip: bool) -> AbstractContextManager[None]:
        """Return a context in which DDP only gathers gradients here, if ``skip``."""
        if skip and isinstance(wrapped, DistributedDataParallel):
            return wrapped.no_sync()
        return nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of ``values`` over all processes; every process must call this."""
        if self.world_size > 1:
            distributed.all_reduce(values)
        return values

    def all_true(self, flag: Tensor) -> bool:
        """Return whether the 0-d ``flag`` is true on every process; waits for the device."""
        if self.world_size > 1:
            flag = flag.to(torch.int32)
            distributed.all_reduce(flag, op=distributed.ReduceOp.MIN)
        return bool(flag)

    def from_main(self, value: Value) -> Value:
        """Return what the main process passed as ``value``: any small picklable object."""
        if self.world_size == 1:
            return value
        box: list[Any] = [value]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        received: Value = box[0]
        return received

    def on_main(self, work: Callable[[], Value]) -> Value:
        """Return what ``work`` returns on the main process; every process must call this.

        An error of ours that stops it there is raised on every process: one that did not hear of
        it would wait for the main process for ever.
        """
        value: Value | None = None
        failure: TutelageError | None = None
        if self.is_main:
            try:
                value = work()
            except TutelageError as error:
                failure = error
        value, failure = self.from_main((value, failure))
        if failure is not None:
            raise failure
        return value  # type: ignore[return-value]  # without a failure it is what work returned

    def together(self, work: Callable[[], Value]) -> Value:
        """Return what ``work`` returns on this process; every process must call this.

        An error of ours that stops it on any process is raised on all of them.
        """
        value: Value | None = None
        failure: TutelageError | None = None
        try:
            value = work()
        except TutelageError as error:
            failure = error
        found = [one for one in self.gather(failure) if one is not None]
        if found:
            raise failure or found[0]
        return value  # type: ignore[return-value]  # without a failure it is what work returned

    def gather(self, value: Value) -> list[Value]:
        """Return the ``value`` of every process, in the order of their ranks."""
        if self.world_size == 1:
            return [value]
        boxes: list[Any] = [None] * self.world_size
        distributed.all_gather_object(boxes, value)
        return boxes


@contextmanager
def open_ranks(device: str = "auto") -> Iterator[Ranks]:
    """Join the processes that torchrun started.

    Without torchrun this is one process. A process group that is already there is used as it is.
    A new one stays until the process ends, as the processes can meet only once at the address
    that torchrun gives them: the next ``open_ranks`` finds it again.

    Args:
        device: ``auto`` takes a GPU for each process if there are enough, else the CPU.

    Raises:
        InputError: If ``device`` does not exist here, the environment is only half of what
            torchrun sets, or the process group is one for GPUs and ``device`` is none.

    >>> with open_ranks("cpu") as ranks: (ranks.rank, ranks.world_size, ranks.is_main)
    (0, 1, True)
    """
    where = pick_device(device)
    if not distributed.is_initialized():
        if _number("WORLD_SIZE", 1) == 1:
            yield Ranks(0, 1, where)
            return
        _join(where)
    if distributed.get_backend() == "nccl" and where.type != "cuda":
        raise InputError(
            f"device: expected cuda, as the process group here connects GPUs (nccl), found "
            f"{device!r}; use one kind of device in one script"
        )
    yield Ranks(distributed.get_rank(), distributed.get_world_size(), where)


def pick_device(name: str) -> torch.device:
    """Return the device of this process.

    Args:
        name: ``auto``, or a device of torch. ``cuda`` becomes this process's own GPU.

    Raises:
        InputError: If torch knows no such device, this machine does not have it, or it cannot
            compute (``meta``).

    >>> pick_device("cpu")
    device(type='cpu')
    """
    local = _number("LOCAL_RANK", 0)
    if name == "auto":
        wanted = _number("LOCAL_WORLD_SIZE", 1)
        return torch.device("cuda", local) if _gpus() >= wanted else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(
            f"device: expected auto, cpu, cuda, cuda:0 or another device of torch, found {name!r}"
        ) from None
    if device.type == "cuda":
        index = local if device.index is None else device.index
        if index >= _gpus():
            raise InputError(
                f"device: expected one of the {_gpus()} GPUs that torch sees here, "
                f"found {name!r} for local rank {local}; use device: cpu"
            )
        return torch.device("cuda", index)
    _try(device)
    return device


def _join(where: torch.device) -> None:
    """Open the process group, and close it when the process ends."""
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing:
        raise InputError(
            f"environment: expected {', '.join(_NEEDED)} beside WORLD_SIZE="
            f"{os.environ['WORLD_SIZE']}, found no {', '.join(missing)}; start the script with "
            "torchrun, or unset WORLD_SIZE for a single process"
        )
    if where.type == "cuda":
        torch.cuda.set_device(where)
        distributed.init_process_group("nccl", device_id=where)
    else:
        distributed.init_process_group("gloo")
    atexit.register(_leave)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _try(device: torch.device) -> None:
    """Raise unless the device holds a number and gives it back."""
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"device: expected one that computes on this machine, found {str(device)!r}: {reason}; "
            "use device: cpu"
        ) from None


def _number(name: str, default: int) -> int:
    """Return a variable of the environment that torchrun sets."""
    found = os.environ.get(name, str(default))
    if not found.isdecimal():
        raise InputError(
            f"environment: expected a whole number in {name}, as torchrun sets it, "
            f"found {found!r}; unset it for a single process"
        )
    return int(found)


def _gpus() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
