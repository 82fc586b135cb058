"""A projector that finds its own shape from one pair of tensors."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import UninitializedParameter, is_lazy

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.projectors.base import Projector
from tutelage.projectors.plan import Plan, plan_for
from tutelage.projectors.resize import grow, shrink
from tutelage.projectors.tokens import lay_out


class AutoProjector(Projector):
    """Become the projector that two tensors need, when they are first seen.

    ======================  ======================  =========================================
    student                 teacher                 becomes
    ======================  ======================  =========================================
    any                     the same shape          the identity, *without parameters*
    ``[B, D]``              ``[B, D']``             a linear map
    ``[B, N, D]``           ``[B, N, D']``          a linear map of each token
    ``[B, C, H, W]``        ``[B, C', H', W']``     a 1x1 convolution, resized to ``H', W'``
    ``[B, N, D]``           ``[B, C', H', W']``     the patch tokens on their grid, then the same
    ``[B, C, H, W]``        ``[B, N', D']``         the same, laid out as tokens; each prefix
                                                    token of the teacher meets the map's mean
    ======================  ======================  =========================================

    Up to five prefix tokens (class, distillation, registers) are recognised by their count. Maps
    are channels-first; for other layouts write a projector of your own.

    Until :meth:`size_for` is called the weight and bias are uninitialised parameters, which an
    optimiser may already own: they are filled in place. DDP, FSDP, and optimisers that look at
    shapes when built, need a sized projector. Weights start uniform in ``±1/sqrt(in_width)``, drawn
    from torch's global generator when sized.

    >>> _ = torch.manual_seed(0)
    >>> projector = AutoProjector()
    >>> projector.size_for(torch.zeros(8, 64, 14, 14), torch.zeros(8, 256, 14, 14))
    >>> projector
    AutoProjector([64,14,14] -> [256,14,14]: conv 1x1)
    """

    name: ClassVar[str] = "auto"
    shapes: Tensor
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self) -> None:
        super().__init__()
        self._plan: Plan | None = None
        for parameter in ("weight", "bias"):
            self.register_parameter(parameter, cast(nn.Parameter, UninitializedParameter()))
        # The plan travels in the state dict as numbers, so that safetensors can hold it:
        # the student's axes, their count first, then the teacher's. Empty while unsized.
        self.register_buffer("shapes", torch.empty(0, dtype=torch.int64))

    @property
    def is_sized(self) -> bool:
        """Whether the shapes are known."""
        return self._plan is not None

    def size_for(self, student: Tensor, teacher: Tensor) -> None:
        """Become the projector from ``student``'s shape to ``teacher``'s; twice is harmless.

        Raises:
            ShapeError: If the batch sizes differ, no automatic way exists, or the projector
                already has other shapes.
        """
        if student.ndim < 1 or teacher.ndim < 1 or student.shape[0] != teacher.shape[0]:
            raise ShapeError(
                f"AutoProjector: expected one batch size, found student {_check.shape(student)} vs "
                f"teacher {_check.shape(teacher)}; feed both models the same batch"
            )
        plan = plan_for(tuple(student.shape[1:]), tuple(teacher.shape[1:]))
        if self._plan is None:
            self._take_dtype(student)
            self._become(plan)
            self._draw()
        elif plan != self._plan:
            raise ShapeError(
                f"AutoProjector: expected the shapes it was sized for ({self._plan}), found "
                f"({plan}); use a new AutoProjector for each pair of layers"
            )

    def forward(self, student: Tensor) -> Tensor:
        """Return ``student`` in the teacher's shape."""
        plan = self._plan
        if plan is None:
            raise ShapeError(
                "AutoProjector: expected to be sized before its first forward, found no shapes; "
                "call size_for(student, teacher) with one pair of tensors"
            )
        self._check_input(student, plan)
        if plan.kind == "identity":
            return student
        assert self.weight is not None
        if plan.kind == "linear":
            return F.linear(student, self.weight, self.bias)
        maps = student
        if plan.grid is not None:
            maps = lay_out(student, plan.grid, plan.prefix)
        if plan.size is not None:
            maps = shrink(maps, plan.size)
        maps = F.conv2d(maps, self.weight[:, :, None, None], self.bias)
        if plan.size is not None:
            maps = grow(maps, plan.size)
        return _as_tokens(maps, plan.prefix) if plan.kind == "map to tokens" else maps

    def extra_repr(self) -> str:
        """Show what it became."""
        return "not sized yet" if self._plan is None else str(self._plan)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def moved(tensor: Tensor) -> Tensor:
            if not is_lazy(tensor):
                return fn(tensor)
            # Few functions take a tensor without a shape: see where one of no elements ends up.
            probe = fn(torch.empty(0, dtype=tensor.dtype, device=tensor.device))
            return tensor.to(device=probe.device, dtype=probe.dtype)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    def _check_input(self, student: Tensor, plan: Plan) -> None:
        found = tuple(student.shape[1:])
        width = 0 if len(found) == 3 else -1
        # Without a fixed size or grid any resolution passes, as in a fully convolutional net.
        fits = len(found) == len(plan.student) and (
            found == plan.student or (plan.grid is None and found[width] == plan.in_width)
        )
        if not fits:
            expected = str(["B", *plan.student]).replace("'", "")
            raise self._mismatch(
                expected, student, "feed the layer it was sized for, or use a new AutoProjector"
            )

    def _take_dtype(self, student: Tensor) -> None:
        """Take the student's dtype, unless the projector was given one of its own before."""
        assert self.weight is not None
        own = self.weight.dtype != torch.get_default_dtype()
        # Under autocast a tensor's dtype is not that of the weights that made it.
        is_autocast = torch.is_autocast_enabled(student.device.type)
        if student.is_floating_point() and not own and not is_autocast:
            self.to(student.dtype)

    def _become(self, plan: Plan) -> None:
        identity = plan.kind == "identity"
        for name, shape in (
            ("weight", (plan.out_width, plan.in_width)),
            ("bias", (plan.out_width,)),
        ):
            parameter = getattr(self, name)
            # An optimiser may hold the identity's unused parameters: leave them well-formed.
            parameter.materialize((0,) if identity else shape)
            if identity:
                setattr(self, name, None)
        self.shapes = _encode(plan).to(self.shapes.device)
        self._plan = plan

    @torch.no_grad()
    def _draw(self) -> None:
        for parameter in self.parameters():
            assert self._plan is not None
            bound = 1 / math.sqrt(self._plan.in_width)
            parameter.uniform_(-bound, bound)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        if self.is_sized:
            super()._save_to_state_dict(destination, prefix, keep_vars)
        else:  # uninitialised parameters cannot be detached, nor read back safely
            destination[prefix + "shapes"] = self.shapes

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        stored = state_dict.get(prefix + "shapes")
        plan = None if stored is None else _decode(stored)
        if self._plan is None and plan is not None:
            self._become(plan)
        if plan != self._plan:
            error_msgs.append(
                f"{prefix}AutoProjector: expected the state of ({self._plan or 'not sized yet'}), "
                f"found ({plan or 'not sized yet'}); size both for the same pair of layers"
            )
        elif self._plan is not None:
            super()._load_from_state_dict(
                state_dict,
                prefix,
                local_metadata,
                strict,
                missing_keys,
                unexpected_keys,
                error_msgs,
            )


def _as_tokens(maps: Tensor, prefix: int) -> Tensor:
    tokens = maps.flatten(2).transpose(1, 2)
    if not prefix:
        return tokens
    mean = tokens.mean(1, keepdim=True).expand(-1, prefix, -1)
    return torch.cat([mean, tokens], dim=1)


def _encode(plan: Plan) -> Tensor:
    return torch.tensor([len(plan.student), *plan.student, len(plan.teacher), *plan.teacher])


def _decode(shapes: Tensor) -> Plan | None:
    if shapes.numel() == 0:
        return None
    numbers = [int(number) for number in shapes.tolist()]
    end = 1 + numbers[0]
    return plan_for(tuple(numbers[1:end]), tuple(numbers[end + 1 :]))
