"""The layers of a model, or the pairs that a recipe's two models offer, as rows of a table."""

from collections.abc import Iterator, Sequence
from typing import Any

from tutelage import models
from tutelage.errors import TapError
from tutelage.recipes.build import (
    build_splits,
    build_student,
    build_teacher,
    build_teacher_model,
    example_of,
)
from tutelage.recipes.functions import function_at, is_function
from tutelage.recipes.load import load, shipped
from tutelage.recipes.overrides import apply
from tutelage.recipes.source import Source
from tutelage.taps import list_layers, match_layers

# What a model is built for where nobody says otherwise; only shapes of weights depend on it.
_DEFAULTS: dict[str, Any] = {"num_classes": 10, "in_channels": 3, "size": (32, 32)}


def names_recipe(name: str) -> bool:
    """Return whether ``name`` stands for a recipe rather than a model."""
    return name in shipped() or name.endswith((".yaml", ".yml"))


def of_model(name: str, options: Sequence[str] = ()) -> Iterator[Sequence[str]]:
    """Yield name, kind and parameters of each layer of a model.

    Args:
        name: As ``models.create`` takes it, or ``path.py:function``.
        options: ``key=value`` options of the model, ``num_classes`` and ``in_channels`` among them.
    """
    source = Source({}, "command line")
    apply(source, options)
    if source.faults:
        raise source.error(source.faults)
    builder = function_at(name) if is_function(name) else name
    model = models.create(builder, **(_DEFAULTS | source.tree))
    yield "layer", "kind", "parameters"
    for layer in list_layers(model):
        yield layer.name, layer.kind, f"{layer.params:,}"


def of_recipe(origin: str, changes: Sequence[str] = ()) -> Iterator[Sequence[str]]:
    """Yield the pairs of layers of a recipe's two models that work at one resolution.

    Where there are none, all layers of both are listed.
    """
    recipe = load(origin, changes)
    splits = build_splits(recipe, recipe.seed)
    student = build_student(recipe, splits.spec, recipe.seed)
    if recipe.teacher is None or recipe.teacher.is_only_cached:
        yield "layer", "kind", "parameters"
        for layer in list_layers(student):
            yield layer.name, layer.kind, f"{layer.params:,}"
        return
    model = build_teacher_model(recipe, splits.spec)
    inputs = example_of(splits)
    with build_teacher(recipe, model, splits.spec) as teacher:
        theirs = inputs if teacher.adapter is None else teacher.adapter(inputs)
        try:
            pairs = match_layers(student, model, inputs, theirs)
        except TapError:  # no maps of one resolution, as in an MLP: name them all
            pairs = []
    if not pairs:
        yield "model", "layer", "kind", "parameters"
        for whose, module in (("student", student), ("teacher", model)):
            for layer in list_layers(module):
                yield whose, layer.name, layer.kind, f"{layer.params:,}"
        return
    yield "at: [student, teacher]", "student", "teacher"
    for pair in pairs:
        yield (
            f"[{pair.student}, {pair.teacher}]",
            str(list(pair.student_shape)),
            str(list(pair.teacher_shape)),
        )
