"""The README's promises, executed."""

import re
from pathlib import Path

import torch
from torch import nn

import tutelage as tl

README = Path(__file__).parents[1] / "README.md"


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.layer3 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer3(self.stem(x).relu()).relu().mean((2, 3)))


def test_the_first_block_runs_as_it_stands() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    student, teacher = Net(4), Net(8)
    frozen = {name: value.clone() for name, value in teacher.state_dict().items()}
    names = {
        "student": student,
        "teacher": teacher,
        "x": torch.randn(6, 3, 8, 8),
        "y": torch.randint(10, (6,)),
    }
    exec(blocks[0], names)
    step = names["step"]
    assert set(step.parts) == {"ce", "kd", "hint"}
    assert all(p.grad is not None for p in names["distiller"].parameters())
    assert all(torch.equal(frozen[name], value) for name, value in teacher.state_dict().items())


def test_every_public_name_can_be_reached() -> None:
    for name in tl.__all__:
        assert getattr(tl, name) is not None
        assert name in dir(tl)
