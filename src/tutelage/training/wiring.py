"""A training loop of the user's own, looked at before it runs: what is wired wrongly in it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn, optim

from tutelage.distiller import Distiller
from tutelage.errors import InputError
from tutelage.signals import call, logits_of
from tutelage.teachers import Teacher, chance_report
from tutelage.training.modes import eval_mode
from tutelage.training.seeds import forked

_BATCHES = 16  # on which the teacher is asked
_LISTED = 3  # names of parameters in one message


@dataclass(frozen=True)
class Wiring:
    """What a loop of one's own is made of, for ``tutelage check FILE.py:FUNCTION``.

    Either a distiller, or student, teacher and a loss written by hand.

    Args:
        optimizer: What will step.
        batches: Labelled batches ``(inputs, target)``, as a loader gives them; a few are enough.
        distiller: Student, teacher and terms in one.
        student: The model that learns.
        teacher: The model it learns from.
        loss: The loss of one batch, ``loss(inputs, target)``, as the loop computes it.
        modules: Other modules with weights in the loss, by name: ``{"projector": conv}``.
        baseline: The run, or the accuracy, of the same student trained alone.

    Raises:
        InputError: If neither or both of the two ways are given.
    """

    optimizer: optim.Optimizer
    batches: Iterable[tuple[Any, Tensor]]
    distiller: Distiller | None = None
    student: nn.Module | None = None
    teacher: nn.Module | Teacher | None = None
    loss: Callable[[Any, Tensor], Tensor] | None = None
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    baseline: str | float | None = None

    def __post_init__(self) -> None:
        by_hand = self.student is not None and self.loss is not None
        if by_hand == (self.distiller is not None):
            raise InputError(
                "Wiring: expected either distiller=, or student= and loss= (with teacher=), found "
                f"{'both' if by_hand else 'neither'}; give one of them"
            )

    def parts(self) -> dict[str, nn.Module]:
        """Return everything that may train, by name."""
        if self.distiller is not None:
            return {"student": self.distiller.student, "terms": self.distiller.objective}
        assert self.student is not None
        return {"student": self.student, **self.modules}

    def teaches(self) -> nn.Module | Teacher | None:
        """Return the teacher of either way."""
        return self.teacher if self.distiller is None else self.distiller.separate_teacher

    def value(self, inputs: Any, target: Tensor) -> Tensor:
        """Return the loss of one batch with its graph."""
        if self.distiller is not None:
            return self.distiller(inputs, target).loss  # type: ignore[no-any-return]
        assert self.loss is not None
        return self.loss(inputs, target)


@dataclass(frozen=True)
class Findings:
    """What was found in a wiring.

    Args:
        lines: What it consists of, as pairs of a heading and a sentence.
        faults: What makes the training, or the claim made of it, wrong. One sentence each.
        notes: What is unusual and may be meant.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inspect_wiring(wiring: Wiring) -> Findings:
    """Compute the loss of one batch and return all that is wired wrongly; nothing is changed.

    Raises:
        InputError: If there is no batch, or the loss is no scalar with a gradient.
    """
    found = Findings()
    batches = list(islice(iter(wiring.batches), _BATCHES))
    if not batches:
        raise InputError("Wiring.batches: expected at least one labelled batch, found none")
    with forked():
        _look_at_teacher(wiring, batches, found)
        reached, fed = _reach(wiring, *batches[0])
    _look_at_parameters(wiring, reached, found)
    for name in fed:
        found.notes.append(
            f"{name} reads nothing that the student computes, so it projects the teacher's "
            "features; the regressor of a hint belongs on the student's side, where it cannot "
            "make the teacher's features easier to meet"
        )
    if wiring.baseline is None:
        found.faults.append(
            "baseline: none is named, so no gain can be claimed; train the same student alone "
            "with the same settings, and give baseline= its run or its accuracy"
        )
    else:
        is_share = isinstance(wiring.baseline, float)
        words = f"{wiring.baseline:.1%}" if is_share else f"{wiring.baseline}"
        found.lines.append(("baseline", words))
    return found


def _look_at_teacher(wiring: Wiring, batches: list[tuple[Any, Tensor]], found: Findings) -> None:
    teacher = wiring.teaches()
    if teacher is None:
        return
    if wiring.distiller is not None and not wiring.distiller.objective.reads_teacher_logits:
        return
    if isinstance(teacher, nn.Module) and teacher.training:
        found.faults.append(
            "teacher: it is in training mode, so its dropout draws and its batch norms move; "
            "call teacher.eval(), or wrap it in tl.FrozenTeacher"
        )
    right = total = classes = 0
    spread = 0.0
    for inputs, target in batches:
        logits = _asked(teacher, inputs)
        if target.is_floating_point() or target.shape != logits.shape[:-1]:
            return  # no class indices to compare with
        classes = logits.shape[-1]
        right += int((logits.argmax(-1) == target).sum())
        total += target.numel()
        log_probs = logits.float().log_softmax(-1)
        spread += float(-(log_probs.exp() * log_probs).sum())
    if classes < 2:
        return
    share = spread / total / float(torch.tensor(float(classes)).log())
    words = f"its answers have {share:.0%} of the entropy of guessing"
    found.lines.append(("teacher", f"right on {right / total:.1%} of {total} samples; {words}"))
    warning = chance_report(right / total, num_classes=classes, n=total)
    if warning:
        found.faults.append(f"{warning}; {words}: a head that nothing has trained looks like this")


def _asked(teacher: nn.Module | Teacher, inputs: Any) -> Tensor:
    with torch.no_grad():
        if hasattr(teacher, "provide"):
            logits: object = teacher(inputs).logits
        else:
            assert isinstance(teacher, nn.Module)
            with eval_mode(teacher):
                logits = logits_of(call(teacher, inputs), "teacher")
    if not isinstance(logits, Tensor):
        raise InputError("Wiring.teacher: expected logits from it, found none")
    return logits


def _reach(wiring: Wiring, inputs: Any, target: Tensor) -> tuple[set[Tensor], list[str]]:
    """Return the leaves of the loss's graph, and the modules that no student's tensor enters."""
    entered: dict[str, bool] = {}

    def noting(name: str) -> Callable[..., None]:
        def note(module: nn.Module, given: tuple[Any, ...]) -> None:
            tensors = [value for value in given if isinstance(value, Tensor)]
            if tensors:
                learns = any(tensor.requires_grad for tensor in tensors)
                entered[name] = entered.get(name, False) or learns

        return note

    parts = wiring.parts()
    handles = [
        part.register_forward_pre_hook(noting(name))
        for name, part in parts.items()
        if name in wiring.modules
    ]
    whole = [wiring.distiller] if wiring.distiller is not None else list(parts.values())
    states = [{n: t.clone() for n, t in one.state_dict().items()} for one in whole]
    try:
        with torch.enable_grad():
            loss = wiring.value(inputs, target)
    finally:
        for handle in handles:
            handle.remove()
        for one, state in zip(whole, states, strict=True):
            one.load_state_dict(state)
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        raise InputError(
            "Wiring.loss: expected a scalar tensor with a gradient, found "
            f"{type(loss).__name__}; return the loss of the batch, not its value"
        )
    return set(_leaves(loss)), [name for name, learns in entered.items() if not learns]


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """Yield every parameter that a gradient of ``loss`` would reach."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [following for following, _ in node.next_functions]


def _look_at_parameters(wiring: Wiring, reached: set[Tensor], found: Findings) -> None:
    stepped = {p for group in wiring.optimizer.param_groups for p in group["params"]}
    names: dict[Tensor, str] = {
        tensor: f"{part}.{name}"
        for part, module in wiring.parts().items()
        for name, tensor in module.named_parameters()
    }
    taught = _named_teacher(wiring.teaches())
    for part, module in wiring.parts().items():
        own = dict(module.named_parameters())
        idle = [tensor for tensor in own.values() if tensor in reached and tensor not in stepped]
        if idle:
            found.faults.append(
                f"{part}: {len(idle)} of its {len(own)} parameters take part in the loss and are "
                f"in no group of the optimiser ({_listed(idle, names)}), so they stay as they "
                "were drawn and their gradients add up; give them to the optimiser"
            )
    stray = [t for t in reached if t not in names and t not in taught and t not in stepped]
    if stray:
        found.faults.append(
            f"loss: {len(stray)} parameters take part in it that are neither in the optimiser nor "
            f"in a module that was named ({_listed(stray, {})}); name it in modules=, and give it "
            "to the optimiser"
        )
    deaf = [t for t in stepped if t not in reached and t not in taught]
    if deaf:
        found.faults.append(
            f"optimiser: {len(deaf)} of its parameters get no gradient ({_listed(deaf, names)}); "
            "let the loss reach them, or leave them out"
        )
    for what, tensors in (("are in the optimiser", stepped), ("get gradients", reached)):
        moved = [tensor for tensor in tensors if tensor in taught]
        if moved:
            found.faults.append(
                f"teacher: {len(moved)} of its parameters {what} ({_listed(moved, taught)}); wrap "
                "it in tl.FrozenTeacher, which cannot move"
            )
    total = sum(tensor.numel() for tensor in stepped & reached)
    found.lines.append(("trains", f"{total:,} numbers in {len(stepped & reached)} parameters"))


def _named_teacher(teacher: nn.Module | Teacher | None) -> dict[Tensor, str]:
    if teacher is None:
        return {}
    # A frozen teacher is a module as well, with names of its own for the tensors inside.
    known: Any = teacher
    inside = known.named_tensors if hasattr(known, "provide") else known.named_parameters
    return {tensor: f"teacher.{name}" for name, tensor in inside()}


def _listed(tensors: Sequence[Tensor], names: Mapping[Tensor, str]) -> str:
    words = sorted(names.get(t, f"one of shape {list(t.shape)}") for t in tensors)
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return ", ".join(words[:_LISTED]) + more
