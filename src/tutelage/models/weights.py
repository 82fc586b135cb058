"""Load weights into a model: all of them, or everything but the classifier and saying so."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from tutelage._check import shape
from tutelage.errors import InputError, did_you_mean
from tutelage.models.files import read_weights


@dataclass(frozen=True)
class LoadReport:
    """What was loaded.

    Args:
        source: Where the weights came from.
        loaded: Number of tensors that were copied into the model.
        random_head: Names of the classifier's tensors that were *not* loaded and keep the model's
            fresh initial values. Empty unless ``allow_random_head`` was needed.
    """

    source: str
    loaded: int
    random_head: tuple[str, ...] = ()


def load_weights(
    model: nn.Module, path: str | Path, *, allow_random_head: bool = False
) -> LoadReport:
    """Load a weight file into ``model``, strictly.

    Args:
        model: Changed in place, and only if the whole file fits. A ``distilled_vit`` takes weights
            of another image size: its position embeddings are interpolated.
        path: A file as :func:`~tutelage.models.files.read_weights` takes it.
        allow_random_head: Where the classifier alone differs in its number of classes, load
            everything else and leave the classifier as it is. It is then untrained.

    Raises:
        InputError: The names, shapes or kinds (whole, floating-point or complex numbers) of file
            and model differ.
        DataError: The file cannot be read.
    """
    return load_tensors(
        model, read_weights(path), source=str(path), allow_random_head=allow_random_head
    )


def load_tensors(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    source: str,
    allow_random_head: bool = False,
) -> LoadReport:
    """Load named tensors into ``model`` as :func:`load_weights` does; ``source`` names them."""
    wanted = model.state_dict()
    found = _without_common_prefix(dict(weights), wanted)
    _same_names(wanted, found, source)
    fitted = getattr(model, "fitted", None)  # how it takes weights of another image size
    if callable(fitted):
        found = fitted(found)
    differing = [name for name in wanted if wanted[name].shape != found[name].shape]
    if differing:
        if not _is_class_count(wanted, found, differing):
            lines = "; ".join(_difference(wanted, found, name) for name in differing[:3])
            raise InputError(
                f"{source}: {len(differing)} tensors have other shapes than the model's: {lines}; "
                "build the model with the options it was trained with"
            )
        if not allow_random_head:
            raise InputError(_class_count_message(wanted, found, differing, source))
    _same_kinds(wanted, found, source)
    kept = {name: found[name] for name in wanted if name not in differing}
    model.load_state_dict(kept, strict=not differing)
    return LoadReport(source, len(kept), tuple(differing))


def _without_common_prefix(
    found: dict[str, Tensor], wanted: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Drop a wrapper's name (``model.``) that stands before every key and fits nothing."""
    prefixes = {name.split(".", 1)[0] for name in found}
    if len(prefixes) != 1 or any(name in wanted for name in found):
        return found
    prefix = prefixes.pop() + "."
    stripped = {name.removeprefix(prefix): value for name, value in found.items()}
    return stripped if any(name in wanted for name in stripped) else found


def _same_names(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    if not missing and not extra:
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing, such as {', '.join(missing[:3])}")
    if extra:
        parts.append(f"{len(extra)} unexpected, such as {', '.join(extra[:3])}")
    hint = did_you_mean(extra[0], missing) if extra and missing else ""
    close = f" ({extra[0]!r}: {hint})" if hint.startswith("did you mean") else ""
    raise InputError(
        f"{source}: its names do not fit the model: {'; '.join(parts)}{close}; "
        "check that file and model are of one architecture"
    )


def _same_kinds(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    """Refuse what copying would convert without a word: quantised weights, or halves of complex."""

    def kind(tensor: Tensor) -> tuple[bool, bool]:
        return tensor.is_floating_point(), tensor.is_complex()

    differing = [name for name in wanted if kind(wanted[name]) != kind(found[name])]
    if differing:
        lines = "; ".join(
            f"{name}: model {wanted[name].dtype}, file {found[name].dtype}"
            for name in differing[:3]
        )
        raise InputError(
            f"{source}: {len(differing)} tensors hold another kind of numbers than the model's: "
            f"{lines}; convert the file (dequantise it) to the model's kind"
        )


def _is_class_count(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], differing: list[str]
) -> bool:
    """A classifier for another number of classes: one and the same change, in first axes only.

    Any other change of width reaches the second axis of the layer that follows.
    """
    pairs = [(tuple(wanted[name].shape), tuple(found[name].shape)) for name in differing]
    if not all(len(a) == len(b) >= 1 and a[1:] == b[1:] for a, b in pairs):
        return False
    return len({(a[0], b[0]) for a, b in pairs}) == 1


def _class_count_message(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], differing: list[str], source: str
) -> str:
    name = differing[0]
    classes, has = wanted[name].shape[0], found[name].shape[0]
    return (
        f"{source}: expected a classifier for {classes} classes, found one for {has} "
        f"({_difference(wanted, found, name)}). Either build the model with num_classes={has} "
        "and choose classes with FrozenTeacher(..., class_map=[...]), or pass "
        "allow_random_head=True to load all but the classifier, which then is untrained"
    )


def _difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str) -> str:
    return f"{name}: model {shape(wanted[name])}, file {shape(found[name])}"
