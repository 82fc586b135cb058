import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.models import create


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("widths", "by_hand"),
    [
        ((256, 256), 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10),
        ((32,), 64 * 32 + 32 + 32 * 10 + 10),
        ((), 64 * 10 + 10),
    ],
)
def test_the_mlp_has_the_layers_it_was_asked_for(widths, by_hand):
    model = create("mlp", num_classes=10, in_channels=1, size=(8, 8), widths=widths)
    assert count(model) == by_hand
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_the_mlp_is_affine_relu_affine():
    model = create("mlp", num_classes=3, in_channels=2, size=(2, 2), widths=(5,))
    x = torch.randn(4, 2, 2, 2)
    hidden = (x.reshape(4, 8) @ model.hidden1.weight.T + model.hidden1.bias).clamp(min=0)
    expected = hidden @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(x), expected)


def test_the_mlp_names_its_layers_for_taps():
    model = create("mlp", num_classes=3, in_channels=1, size=(4, 4), widths=(6, 5))
    names = [name for name, _ in model.named_children()]
    assert names == ["hidden1", "act1", "hidden2", "act2", "head"]


def test_the_mlp_asks_for_the_images_size():
    with pytest.raises(InputError, match=r"pass size=\(height, width\)"):
        create("mlp", num_classes=10, in_channels=1)


def test_the_mlp_refuses_images_of_another_size():
    model = create("mlp", num_classes=10, in_channels=1, size=(8, 8))
    with pytest.raises(ShapeError, match=r"expected 64 values per sample, found 81") as caught:
        model(torch.zeros(2, 1, 9, 9))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("widths", "about"), [((16, 32, 64), 73_000), ((8, 16, 32), 18_000)])
def test_the_small_cnn_has_the_size_of_the_measured_pair(widths, about):
    model = create("small_cnn", num_classes=10, in_channels=1, widths=widths)
    assert abs(count(model) - about) < 1000


@pytest.mark.parametrize("name", ["small_cnn", "tiny_resnet"])
def test_each_stage_halves_the_resolution_after_the_first(name):
    model = create(name, num_classes=7, in_channels=1).eval()
    shapes = {}
    for stage in ("stage1", "stage2", "stage3"):
        getattr(model, stage).register_forward_hook(
            lambda _, __, out, stage=stage: shapes.update({stage: tuple(out.shape[1:])})
        )
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 7)
    assert shapes == {"stage1": (16, 28, 28), "stage2": (32, 14, 14), "stage3": (64, 7, 7)}


def test_three_blocks_give_the_resnet20_of_the_paper():
    model = create("tiny_resnet", num_classes=10, blocks=3)
    weighted = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    shortcuts = [m for m in weighted if getattr(m, "kernel_size", None) == (1, 1)]
    assert len(weighted) - len(shortcuts) == 20
    assert count(model) == pytest.approx(0.27e6, rel=0.02)


def test_a_block_adds_its_input():
    block = create("tiny_resnet", num_classes=2, in_channels=1).stage1[0].eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 16, 4, 4)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize(
    ("name", "options"), [("mlp", {"size": (4, 4)}), ("small_cnn", {}), ("tiny_resnet", {})]
)
def test_a_width_of_zero_is_refused(name, options):
    with pytest.raises(InputError, match="expected counts of at least 1"):
        create(name, num_classes=2, widths=(0, 4), **options)
