"""Small built-in nets; timm's, torchvision's and the user's models by name."""

from tutelage.models.cohort import Cohort
from tutelage.models.create import create
from tutelage.models.distilled_vit import DistilledViT
from tutelage.models.files import read_weights
from tutelage.models.mlp import MLP
from tutelage.models.registry import index, register
from tutelage.models.small_cnn import SmallCNN
from tutelage.models.submodels import Submodels
from tutelage.models.tiny_resnet import TinyResNet
from tutelage.models.weights import LoadReport, load_tensors, load_weights

__all__ = [
    "MLP",
    "Cohort",
    "DistilledViT",
    "LoadReport",
    "SmallCNN",
    "Submodels",
    "TinyResNet",
    "create",
    "index",
    "load_tensors",
    "load_weights",
    "read_weights",
    "register",
]
