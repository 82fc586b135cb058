"""The page of a loss: what its docstrings, its class and the measurements say, as Markdown."""

import functools
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from tutelage.errors import InputError, did_you_mean
from tutelage.losses import Loss, index
from tutelage.losses.docstrings import parse

# What is measured, in words that follow "doubling" or so; the keys of the file of measurements.
STEPS = {
    "batch": "twice the batch",
    "positions": "twice the positions",
    "resolution": "twice the height and width",
    "classes": "twice the classes",
    "channels": "twice the channels",
}


def page(name: str, effects: Mapping[str, Any] | None = None) -> str:
    """Return the page of a loss as Markdown.

    Args:
        name: Its name in recipes.
        effects: Measured effects by name, in accuracy from 0 to 1: ``{"kd": [{"arm": "kd T=4",
            "delta": 0.012, "ci95": [0.004, 0.02], "seeds": 5, "where": "zoo-digits"}]}``.

    Raises:
        InputError: There is no such loss.
    """
    known = index()
    if name not in known:
        raise InputError(f"losses: there is no {name!r} ({did_you_mean(name, known)})")
    loss = known[name]
    blocks = [
        f"# {loss.__name__}",
        parse(loss).summary,
        f"```python\ntl.{_signature(loss)}\n```" if _is_ours(loss) else f"`{_signature(loss)}`",
        f"In recipes `{name}`. Source: {_source(loss)}",
        "## Needs",
        "\n".join(f"- {line}" for line in _needs(loss)),
        *_formulas(loss),
        *_options(loss),
        *_notes(loss),
        *_dependence(name),
        *_effect(name, effects or {}),
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def family(loss: type[Loss]) -> str:
    """Return the family of a loss: the folder that it stands in, or "elsewhere"."""
    return loss.__module__.split(".")[2] if _is_ours(loss) else "elsewhere"


def brief(loss: type[Loss]) -> str:
    """Return what a loss is in a few words."""
    summary = re.sub(r"[`$]", "", parse(loss).summary)
    return re.sub(r", mean over \w+(?= |\.|,)", "", summary).rstrip(".")


def needs(loss: type[Loss]) -> str:
    """Return what a loss needs beside two tensors of one layer, in a few words."""
    words = {
        "no teacher": not loss.needs_teacher,
        "target": loss.needs_target,
        "ids": loss.needs_ids,
        "layers": loss.takes_layers,
        "module": loss.borrows is not None,
    }
    return ", ".join(word for word, is_needed in words.items() if is_needed)


def _is_ours(loss: type[Loss]) -> bool:
    return loss.__module__.startswith("tutelage.losses.")


def _signature(loss: type[Loss]) -> str:
    parameters = inspect.signature(loss).parameters.values()
    shown = (
        p.name if p.default is p.empty else f"{p.name}={_shown(p.default)}" for p in parameters
    )
    return f"{loss.__name__}({', '.join(shown)})"


def _shown(default: object) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    return f'"{default}"' if isinstance(default, str) else repr(default)


def _source(loss: type[Loss]) -> str:
    text = " ".join((sys.modules[loss.__module__].__doc__ or "").partition("\n\n")[0].split())
    if not re.fullmatch(r"\d{4}\.\d{4,5}", loss.paper):
        return text
    return text.replace(loss.paper, f"[{loss.paper}](https://arxiv.org/abs/{loss.paper})")


def _needs(loss: type[Loss]) -> list[str]:
    pairs = ", several pairs of them: `at=[...]`" if loss.takes_layers else ""
    sides = "the student and the teacher" if loss.needs_teacher else "the student; no teacher"
    lines = [f"{loss.compares} of {sides}{pairs}"]
    if loss.needs_target:
        lines.append("the target")
    if loss.needs_ids:
        lines.append("the samples' ids")
    if loss.borrows:
        lines.append(f"{loss.borrows}: `Term(..., borrow=...)`")
    if loss.compares_samples:
        lines.append(
            "a batch: it compares samples with each other, so the value of a batch is not the "
            "mean of its samples' values"
        )
    if _learns(loss):
        lines.append("its own learned parts in the optimiser: `distiller.parameters()` has them")
    if loss.projector:
        options = "".join(
            f", {key}={_shown(value)}" for key, value in loss.projector_options.items()
        )
        lines.append(f'the paper\'s projector on the student: `via="paper"`, which is '
                     f"`{loss.projector}`{options}")  # fmt: skip
    return lines


def _learns(loss: type[Loss]) -> bool:
    options = inspect.signature(loss).parameters.values()
    if any(option.default is option.empty for option in options):
        return False  # of another package: nobody has said with which options
    return any(parameter.requires_grad for parameter in loss().parameters())


def _formulas(loss: type[Loss]) -> list[str]:
    """Return the equations of the file: first the one that the class names."""
    functions = _functions(loss)
    first = [name for name in parse(loss).sees if name in functions]
    blocks = ["## Formula"]
    for name in dict.fromkeys([*first, *functions]):
        found = parse(functions[name])
        tensors = [f"- `{key}`: {text}" for key, text in found.options.items()
                   if key in ("student", "teacher", "target")]  # fmt: skip
        blocks += [f"**`{name}`**: {found.summary}", found.body, "\n".join(tensors)]
    return blocks


def _functions(loss: type[Loss]) -> dict[str, Callable[..., object]]:
    """Return the functions of its file with a formula, and those that its class names."""
    named, home = parse(loss).sees, vars(sys.modules[loss.__module__])
    return {
        name: function
        for name, function in home.items()
        if inspect.isfunction(function) and not name.startswith("_")
        and (name in named or (function.__module__ == loss.__module__
                               and ".. math::" in (function.__doc__ or "")))
    }  # fmt: skip


def _options(loss: type[Loss]) -> list[str]:
    """Return a table of the constructor's options, told by the class or by the equation."""
    parameters = inspect.signature(loss).parameters
    if not parameters:
        return []
    told = {option: text for function in _functions(loss).values()
            for option, text in parse(function).options.items()}  # fmt: skip
    short = parse(loss).options
    rows = ["## Options", "| option | default | meaning |\n|---|---|---|"]
    for option, parameter in parameters.items():
        text = max(short.get(option, ""), told.get(option, ""), key=len)
        rows[1] += (
            f"\n| `{option}` | `{_shown(parameter.default)}` | {text.replace('|', chr(92) + '|')} |"
        )
    return rows


def _notes(loss: type[Loss]) -> list[str]:
    body = parse(loss).body
    return ["## Use", body] if body else []


def _dependence(name: str) -> list[str]:
    """Return what the measurement of the loss's dependence on sizes gave."""
    measured = dependence()["losses"].get(name)
    if measured is None:
        return []
    rows = ["| change | value | norm of the student's gradient |", "|---|---|---|"]
    for key, (value, gradient) in measured["ratios"].items():
        rows.append(f"| {STEPS[key]} | x {value:.2f} | x {gradient:.2f} |")
    how = dependence()["how"].format(shape=measured["shape"])
    return ["## Dependence on size, measured", "\n".join(rows), how]


@functools.cache
def dependence() -> Any:
    """Return the measurements that stand beside this file."""
    text = resources.files("tutelage.losses").joinpath("dependence.json").read_text("utf-8")
    return json.loads(text)


def _effect(name: str, effects: Mapping[str, Any]) -> list[str]:
    lines = [
        f"- {found['where']}, arm `{found['arm']}`: {100 * found['delta']:+.1f} points "
        f"(95% interval {100 * found['ci95'][0]:+.1f} to {100 * found['ci95'][1]:+.1f}, "
        f"{found['seeds']} paired seeds)"
        for found in effects.get(name, ())
    ]
    if not lines:
        return []
    head = (
        "Test accuracy against the student trained alone, in [the zoo](../zoo.md): one pair of "
        "models, one weight."
    )
    return ["## Effect, measured", head, "\n".join(lines)]
