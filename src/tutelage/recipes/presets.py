"""Published recipes as a word: ``preset: usi`` stands for terms and settings of the training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tutelage.errors import did_you_mean


@dataclass(frozen=True)
class Preset:
    """Terms and training settings that belong together.

    Args:
        source: Paper and arXiv id.
        terms: As a recipe writes them.
        training: Settings that the paper asks for and the recipe may not know.
    """

    source: str
    terms: tuple[Mapping[str, Any], ...]
    training: Mapping[str, Any] = field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    # No labels: the student matches the teacher's function on mixed images. It asks for patience.
    "function-matching": Preset(
        "Beyer et al., CVPR 2022, 2106.05237",
        ({"loss": "kd", "temperature": 1.0},),
        {"mixup": 1.0},
    ),
    "usi": Preset(
        "Ridnik et al., 2022, 2204.03475",
        (
            {"loss": "ce", "label_smoothing": 0.1},
            {"loss": "kd", "temperature": 1.0, "weight": 5.0},
        ),
    ),
}


def check_preset(name: str | None) -> str | None:
    """Return the name of a preset.

    Raises:
        ValueError: There is no such preset.
    """
    if name is not None and name not in PRESETS:
        raise ValueError(f"unknown preset ({did_you_mean(name, PRESETS)})")
    return name


def with_preset(section: Any) -> Any:
    """Return a recipe or an arm as written, with what its preset adds; what is written wins.

    >>> with_preset({"preset": "function-matching", "training": {"epochs": 3}})["training"]
    {'mixup': 1.0, 'epochs': 3}
    """
    name = section.get("preset") if isinstance(section, Mapping) else None
    if not isinstance(name, str) or name not in PRESETS:  # an unknown one is refused at its key
        return section
    preset, written = PRESETS[name], dict(section)
    if written.get("terms") is None:
        written["terms"] = [dict(term) for term in preset.terms]
    training = written.get("training")
    if preset.training and (training is None or isinstance(training, Mapping)):
        written["training"] = {**preset.training, **(training or {})}
    return written
