"""Cases of relations of samples."""

from torch import Tensor

from mapping.kit import Hyper, Inputs, Reasons, Rules, Unsupported
from tutelage.losses import SPLoss


def _sp(inputs: Inputs, hyper: Hyper) -> Tensor:
    if "p" in hyper and hyper["p"] != 2:
        raise Unsupported("SPLoss has rows of length 1 in the Euclidean norm, as the paper has")
    return SPLoss()(inputs["student"], inputs["teacher"])


RULES: Rules = {
    ("sp", "repdistiller"): _sp,
    ("sp", "fasterai"): _sp,
}

REASONS: Reasons = {
    ("sp", "torchdistill"): "it divides rows by their L1 norm, a mistake: the paper has L2",
}
