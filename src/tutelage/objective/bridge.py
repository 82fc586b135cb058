"""What stands between the tensors of two models and a loss: projectors and normalisers."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from tutelage import normalizers, projectors
from tutelage.errors import InputError, did_you_mean
from tutelage.projectors import AutoProjector, Deferred

Via = nn.Module | str | Sequence[nn.Module | str]


class Each(nn.ModuleList):
    """One module for each of several layers."""

    @property
    def is_sized(self) -> bool:
        """Whether all that are sized by tensors have been."""
        return all(getattr(module, "is_sized", True) for module in self)

    def size_for(self, students: Sequence[Any], teachers: Sequence[Any]) -> None:
        """Size each for its layer."""
        for module, student, teacher in zip(self, students, teachers, strict=True):
            if isinstance(module, AutoProjector | Deferred):
                module.size_for(student, teacher)

    def forward(self, tensors: Sequence[Any]) -> list[Any]:
        """Return what each module makes of its layer."""
        return [module(tensor) for module, tensor in zip(self, tensors, strict=True)]


def projector_for(via: Via | None, loss: Any, layers: int | None, name: str) -> nn.Module | None:
    """Return the module that projects the student's tensor, or those of several layers.

    Args:
        via: What the user gave.
        loss: The loss, which may know the projector of its paper.
        layers: How many layers the loss takes at once; ``None`` where it takes a single tensor.
        name: The term's name, for messages.
    """
    if via is None:
        return None
    if isinstance(via, str | nn.Module) or not isinstance(via, Sequence):
        first = _one_projector(via, loss, name)
        if layers is None and getattr(first, "takes_layers", False):
            raise InputError(
                f"term '{name}': expected a projector of one layer, as {type(loss).__name__} "
                f"takes, found {type(first).__name__} of several; use a loss of several layers"
            )
        if layers is None or getattr(first, "takes_layers", False):
            return first
        if isinstance(via, nn.Module) and layers > 1:
            raise InputError(
                f"term '{name}': expected a projector for each of {layers} layers, found one; "
                f"give via=[...] with {layers} of them"
            )
        return Each([first, *(_one_projector(via, loss, name) for _ in range(layers - 1))])
    if layers is None or len(via) != layers:
        wanted = "one projector, since the loss takes one layer" if layers is None else str(layers)
        raise InputError(f"term '{name}': expected via= to hold {wanted}, found {len(via)}")
    return Each(_one_projector(one, loss, name) for one in via)


def _one_projector(via: nn.Module | str, loss: Any, name: str) -> nn.Module:
    if isinstance(via, nn.Module):
        return via
    if via == "auto":
        return AutoProjector()
    if via == "paper":
        kind = getattr(loss, "projector", None)
        if kind is None:
            raise InputError(
                f"term '{name}': the paper of {type(loss).__name__} has no projector; use "
                'via="auto", or leave it out'
            )
        return Deferred(projectors.index()[kind], **loss.projector_options)
    raise InputError(
        f'term \'{name}\': expected via="auto", via="paper" or a torch module, so that its '
        f"weights are trained, found {via!r}"
    )


def normalizer_for(
    normalize: nn.Module | str | None, layers: int | None, name: str
) -> nn.Module | None:
    """Return the module that normalises the teacher's tensor, or those of several layers."""
    if normalize is None:
        return None
    if isinstance(normalize, str):
        known = normalizers.index()
        if normalize not in known:
            hint = did_you_mean(normalize, known)
            raise InputError(f"term '{name}': unknown normalize={normalize!r} ({hint})")
        make: Callable[[], nn.Module] = known[normalize]
        return make() if layers is None else Each(make() for _ in range(layers))
    if not isinstance(normalize, nn.Module):
        raise InputError(
            f"term '{name}': expected normalize= to be a name ({', '.join(normalizers.index())}) "
            f"or a torch module, found {normalize!r}"
        )
    if layers is not None and layers > 1:
        raise InputError(
            f"term '{name}': one normaliser cannot hold the statistics of {layers} layers; give "
            "its name"
        )
    return normalize if layers is None else Each([normalize])
