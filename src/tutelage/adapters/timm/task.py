"""What the tasks share: timm's interface around a distiller."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tutelage.adapters.timm.criterion import Criterion, TaskLoss
from tutelage.adapters.timm.framework import ModelEmaV3, TrainingTask, unwrap_model
from tutelage.adapters.timm.heads import head_names
from tutelage.adapters.timm.trainable import Averaged, Trainable
from tutelage.adapters.timm.watch import OptimiserWatch
from tutelage.adapters.timm.weights import Weights
from tutelage.distiller import Distiller
from tutelage.errors import InputError
from tutelage.objective import Term
from tutelage.teachers import Teacher

_log = logging.getLogger(__name__)

STATE = "objective"  # projectors, what losses learn, the step of schedules
_ADVICE = "build the task as it was saved, or pass no task_state and strict=False to start anew"


class DistillationTask(TrainingTask):  # type: ignore[misc]
    """Abstract root of the tasks: a :class:`~tutelage.Distiller` that timm's training drives.

    ``forward(input, target)`` returns ``loss`` (with its graph), ``output`` (the student's logits),
    ``task_loss`` and the distillation loss, both detached and without their weights. Where there
    are several distillation terms, theirs is the sum, and each stands beside it by its name.

    The teacher is no submodule: it is in no ``parameters()`` or ``state_dict()``, its parameters
    require no gradient, and no ``train()`` reaches it; it follows the task to devices and dtypes.

    Build the optimiser from :meth:`get_trainable_module`, as timm 1.0.27 and newer do; a projector
    that an optimiser does not know raises after the first step.
    """

    #: The key of the distillation loss in what a step returns.
    kd_key: ClassVar[str] = "kd_loss"

    _KEYS: ClassVar[tuple[str, ...]] = ("loss", "output", "task_loss")

    device: torch.device
    dtype: torch.dtype
    trainable_module: nn.Module

    def __init__(
        self, *, device: torch.device | None, dtype: torch.dtype | None, verbose: bool
    ) -> None:
        super().__init__(
            device=None if device is None else torch.device(device), dtype=dtype, verbose=verbose
        )

    def _assemble(
        self,
        student: nn.Module,
        teacher: Teacher,
        terms: Sequence[Term],
        weights: Weights,
        criterion: Criterion,
        *,
        class_axis: int | None,
        example: Tensor | None,
    ) -> None:
        """Build the distiller of the task's own term and the given ones."""
        task_loss = TaskLoss(criterion, class_axis)
        task_term = Term(task_loss, weights.task, name="task_loss", class_axis=class_axis)
        _refuse_keys(terms, (*self._KEYS, self.kd_key))
        distiller = Distiller(
            student, teacher, [task_term, *terms], example=_like(student, example)
        )
        self._terms = tuple(terms)
        self._has_own_weights = weights.mode == "terms"
        self.task_loss_weight, self.distill_loss_weight = weights.task, weights.distill
        self.trainable_module = Trainable(distiller)
        self._watch = OptimiserWatch(student, distiller.objective)
        self._is_compiled = self._is_stepped = False
        self.criterion = criterion
        self._log(f"{weights.mode} weights: task {weights.task}, distill {weights.distill}")

    @property
    def teacher(self) -> Teacher | None:
        """The teacher; deliberately not a submodule."""
        return self._distiller.teacher

    def forward(
        self, input: Tensor, target: Tensor, ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of one batch; see the class.

        Args:
            input: Images ``[B, C, H, W]``, as the student takes them.
            target: Labels ``[B]``, or what the criterion takes.
            ids: The samples' ids ``[B]``, for teachers that read a cache and losses that remember
                samples; timm's own loop gives none.

        Raises:
            ShapeError: If student and teacher do not fit.
            InputError: If the optimiser leaves projectors out.
        """
        if self.training and torch.is_grad_enabled():
            self._watch.look()
            self._advance()
        step = self.trainable_module(input, target, ids)
        parts = dict(step.parts)
        task_loss = parts.pop("task_loss")
        kd = self._sum(parts)
        return {
            **(parts if len(parts) > 1 else {}),
            "loss": step.loss,
            "output": step.logits,
            "task_loss": task_loss,
            self.kd_key: kd,
        }

    def set_step(self, step: int) -> None:
        """Move all schedules to optimiser step ``step``; from then on only this moves them.

        Without it they advance with each training forward, which under accumulation is too fast.
        """
        self._is_stepped = True
        self._distiller.set_step(step)

    def close(self) -> None:
        """Remove all hooks, and give the teacher's module back as it was. Safe to repeat."""
        self._distiller.close()

    def prepare_distributed(self, device_ids: list[int] | None = None, **ddp_kwargs: Any) -> Self:
        """Wrap student and projectors, and not the teacher, in DistributedDataParallel."""
        self.trainable_module = DistributedDataParallel(
            self.trainable_module, device_ids=device_ids, **ddp_kwargs
        )
        return self

    def compile(
        self, backend: str = "inductor", mode: str | None = None, **compile_kwargs: Any
    ) -> nn.Module:
        """Compile the whole step, and the student alone for validation, which is returned."""
        options = {"backend": backend, "mode": mode, **compile_kwargs}
        student = self._distiller.student
        compiled: Any = torch.compile(student, **options)
        self.eval_model: nn.Module = compiled  # which timm saves, and validates with
        self.trainable_module = torch.compile(self.trainable_module, **options)  # type: ignore[assignment]
        self._is_compiled = True
        return cast(nn.Module, compiled)

    def get_trainable_module(self, ema: bool = False) -> nn.Module | None:
        """Return the module of all that trains, or its average: optimisers take it."""
        if ema:
            return getattr(self, "trainable_module_ema", None)
        return self.trainable_module

    def get_eval_model(
        self, module: nn.Module | None = None, ema: bool = False
    ) -> nn.Module | None:
        """Return the bare student (compiled, if the task is), or its average."""
        name = "eval_model_ema" if ema else "eval_model"
        if module is None and hasattr(self, name):
            compiled: nn.Module = getattr(self, name)
            return compiled
        module = module if module is not None else self.get_trainable_module(ema=ema)
        found = unwrap_model(module) if module is not None else None
        return found.student if isinstance(found, Trainable | Averaged) else found

    def setup_ema(
        self,
        decay: float = 0.9999,
        use_warmup: bool = False,
        device: torch.device | None = None,
        **kwargs: Any,
    ) -> nn.Module:
        """Create an average of student and projectors over the steps."""
        self.trainable_module_ema = ModelEmaV3(
            Averaged(unwrap_model(self.trainable_module)),
            decay=decay,
            use_warmup=use_warmup,
            device=device,
            **kwargs,
        )
        return self.trainable_module_ema  # type: ignore[no-any-return]

    def get_clip_parameters(self, exclude_head: bool = False) -> list[nn.Parameter]:
        """Return the parameters to clip: without all the student's classifiers, if so asked."""
        student = self._distiller.student
        heads = head_names(student) if exclude_head else ()
        inside = tuple(f"{name}." for name in heads)
        kept = [p for name, p in student.named_parameters() if not name.startswith(inside)]
        return [*kept, *self._distiller.objective.parameters()]

    def get_task_state(self, module: nn.Module | None = None, ema: bool = False) -> dict[str, Any]:
        """Return the state that is not the student's: projectors, what losses learn."""
        trainable = self._trainable(module, ema)
        state = {} if trainable is None else _own_state(trainable)
        return {STATE: state} if state else {}

    def load_task_state(
        self,
        state: Mapping[str, Any] | None,
        strict: bool = True,
        module: nn.Module | None = None,
        ema: bool = False,
    ) -> None:
        """Load what :meth:`get_task_state` gave.

        Raises:
            InputError: The state is missing though the task has one, which would start it anew
                without a word, or holds what the task has not; ``strict=False`` allows both. It is
                of other layers than the task's, so that a shape differs.
        """
        trainable = self._trainable(module, ema)
        if trainable is None:
            raise InputError("load_task_state: expected an average to load into; call setup_ema()")
        self._watch.restart()
        found = (state or {}).get(STATE)
        parts = _parts(trainable)
        unknown = [key for key in state or {} if key != STATE]
        unknown += [key for key in found or {} if not key.startswith(tuple(parts))]
        if found is None:
            learns = [name for name, _ in trainable.objective.named_parameters()]
            if learns and strict:
                raise InputError(
                    f"checkpoint: expected a task_state with the projectors' parameters "
                    f"({', '.join(learns[:3])}), found {sorted(state or {}) or 'none'}; load a "
                    "checkpoint of this task, or pass strict=False to start them anew"
                )
        if unknown and strict:
            raise InputError(
                f"checkpoint: expected nothing in task_state but '{STATE}' with "
                f"{' and '.join(f'{name}*' for name in parts)}, found {unknown[:3]}; load a "
                "checkpoint of this task, or pass strict=False to leave out what it does not know"
            )
        if found is None:
            return
        for name, part in parts.items():
            own = {k.removeprefix(name): v for k, v in found.items() if k.startswith(name)}
            try:
                part.load_state_dict(own, strict=strict)
            except RuntimeError as error:
                found_out = " ".join(str(error).split()).rstrip(". ")
                raise InputError(
                    f"checkpoint: expected a task_state of this task's layers and losses, found "
                    f"another: {found_out}; {_ADVICE}"
                ) from error

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast the task, its teacher too."""
        return nn.Module.to(self, *args, **kwargs)  # before 1.0.27 timm's forgets the dtype

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        # timm tracks them itself from 1.0.27 on; before, .half() and .cuda() went unseen.
        probe = fn(torch.empty(0, device=self.device, dtype=self.dtype))
        super()._apply(fn, *args, **kwargs)
        self.device, self.dtype = probe.device, probe.dtype
        return self

    @property
    def _distiller(self) -> Distiller:
        distiller: Distiller = unwrap_model(self.trainable_module).distiller
        return distiller

    def _trainable(self, module: nn.Module | None, ema: bool) -> Trainable | Averaged | None:
        module = module if module is not None else self.get_trainable_module(ema=ema)
        return None if module is None else unwrap_model(module)

    def _advance(self) -> None:
        """Move the schedules of a compiled step, inside which nothing can count."""
        clock = self._distiller.objective.clock
        if clock is not None and self._is_compiled and not self._is_stepped:
            self._distiller.set_step(clock.step + 1)

    def _sum(self, parts: Mapping[str, Tensor]) -> Tensor:
        values = [
            term.weigh(parts[term.name]) if self._has_own_weights else parts[term.name]
            for term in self._terms
        ]
        return values[0] if len(values) == 1 else torch.stack(values).sum()

    def _log(self, message: str) -> None:
        if self.verbose:
            _log.info("%s: %s", type(self).__name__, message)


def _parts(trainable: Trainable | Averaged) -> dict[str, nn.Module]:
    """Return what the state of a task holds, by what stands before the names."""
    parts = {"objective.": trainable.objective, "memory.": trainable.memory}
    return {name: part for name, part in parts.items() if part is not None}


def _own_state(trainable: Trainable | Averaged) -> dict[str, Any]:
    return {
        name + key: value
        for name, part in _parts(trainable).items()
        for key, value in part.state_dict().items()
    }


def _refuse_keys(terms: Sequence[Term], keys: Sequence[str]) -> None:
    names = [term.name for term in terms]
    taken = [name for name in names if name in keys and (len(names) > 1 or name != keys[-1])]
    if taken:
        raise InputError(
            f"loss_type: expected terms with names other than {', '.join(keys)}, which a step "
            f"returns itself, found {taken[0]!r}; give Term(..., name=...)"
        )


def _like(student: nn.Module, example: Tensor | None) -> Tensor | None:
    """Return the example where and as the student's parameters are."""
    first = next((p for p in student.parameters() if p.is_floating_point()), None)
    if example is None or first is None:
        return example
    return example.to(first.device, first.dtype)
