"""A distiller with a cached teacher is tried out without ids."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

import tutelage as tl
from tutelage.cache import Layout, TapSpec, Writer, encode, marks_of
from tutelage.signals import Signals


def made(folder: Path, teacher: nn.Module, images: torch.Tensor) -> Path:
    """Write the answers of a two-layer teacher, with its first layer, for ids 0 to n - 1."""
    ids = np.arange(len(images))
    layout = Layout(num_classes=3, dtype="fp32", taps=(TapSpec("0", (6,)),))
    with torch.no_grad():
        hidden = teacher[0](images)  # type: ignore[index]
        signals = Signals(teacher[1](hidden), {"0": hidden})  # type: ignore[index]
    with Writer.create(folder, layout, ids, {}) as writer:
        writer.write(ids, 0, encode(layout, signals, ids), marks_of(images).numpy())
        writer.finish()
    return folder


def test_projectors_are_sized_and_shapes_tried_from_a_cache(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    student = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 3))
    images = torch.randn(5, 4)
    path = made(tmp_path / "cache", teacher, images)
    terms = [tl.Term(tl.KDLoss()), tl.Term(tl.HintLoss(), at=("0", "0"), via="auto")]
    cached = tl.CachedTeacher(path)
    with tl.Distiller(student, cached, terms, example=torch.randn(7, 4)) as distiller:
        step = distiller(images, torch.zeros(5, dtype=torch.long), torch.arange(5))
        step.loss.backward()
        assert torch.isfinite(step.loss)
        assert not cached.is_rehearsing


def test_a_shuffled_control_of_a_cached_teacher_is_tried_out_as_well(tmp_path: Path) -> None:
    teacher = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    images = torch.randn(5, 4)
    cached = tl.CachedTeacher(made(tmp_path / "cache", teacher, images))
    shuffled = tl.ShuffledTeacher(cached, seed=1)
    with tl.Distiller(
        nn.Linear(4, 3), shuffled, [tl.KDLoss()], example=torch.randn(2, 4)
    ) as distiller:
        assert torch.isfinite(distiller(images, None, torch.arange(5)).loss)
