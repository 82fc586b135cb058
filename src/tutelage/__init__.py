"""Knowledge distillation in PyTorch: a small student learns from big teachers.

Public names load on first use, so ``import tutelage`` does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# One name each; :mod:`tutelage.losses` says where it stands.
_LOSSES = (
    "ABDivergenceLoss",
    "ABLoss",
    "ATLoss",
    "AdaptiveKLLoss",
    "AlphaDivergenceLoss",
    "AttentionCELoss",
    "AttentionMSELoss",
    "BCEKDLoss",
    "BCELoss",
    "BYOTLoss",
    "BatchGramLoss",
    "CAMKDLoss",
    "CCLoss",
    "CELoss",
    "CRDLoss",
    "CTKDLoss",
    "CWDLoss",
    "ClassGramLoss",
    "DISTLoss",
    "DKDLoss",
    "DarkRankLoss",
    "FSPLoss",
    "FTLoss",
    "HardLabelLoss",
    "HiddenCosineLoss",
    "HiddenMSELoss",
    "HingeRankingLoss",
    "HintLoss",
    "ICKDLoss",
    "ITRDLoss",
    "InfoNCELoss",
    "JSDLoss",
    "KDLoss",
    "LSKDLoss",
    "LayersLoss",
    "LogisticRankingLoss",
    "LogitMSELoss",
    "MGDLoss",
    "MarginMSELoss",
    "MiniLMv2Loss",
    "NKDLoss",
    "NSTLoss",
    "OFALoss",
    "OFDLoss",
    "PKDLoss",
    "PKTLoss",
    "PatientKDLoss",
    "PooledFeatureLoss",
    "RKDLoss",
    "ReverseKLLoss",
    "ReviewKDLoss",
    "SPLoss",
    "SRDLoss",
    "SRRLLoss",
    "SimKDLoss",
    "SkewKLLoss",
    "SymmetricKLLoss",
    "TTMLoss",
    "TeacherFreeKDLoss",
    "TokenLoss",
    "TopKLoss",
    "TotalVariationLoss",
    "ULDLoss",
    "VIDLoss",
    "ViTKDLoss",
    "VkDLoss",
    "WKDFeaturesLoss",
    "WKDLogitsLoss",
    "WSLDLoss",
    "WTTMLoss",
)

_HOME = {
    **dict.fromkeys(_LOSSES, "losses"),
    "Signals": "signals",
    "SparseLogits": "signals",
    "Step": "signals",
    "TutelageError": "errors",
    "Taps": "taps",
    "list_layers": "taps",
    "match_layers": "taps",
    "Loss": "losses",
    "Paraphraser": "losses",
    "LinearProjector": "projectors",
    "OrthogonalProjector": "projectors",
    "ConvProjector": "projectors",
    "ExitHead": "projectors",
    "TokensToMap": "projectors",
    "AutoProjector": "projectors",
    "BatchNormalizer": "normalizers",
    "LayerNormalizer": "normalizers",
    "PHISNormalizer": "normalizers",
    "Linear": "schedules",
    "Cosine": "schedules",
    "Piecewise": "schedules",
    "Teacher": "teachers",
    "FrozenTeacher": "teachers",
    "EMATeacher": "teachers",
    "CallableTeacher": "teachers",
    "CachedTeacher": "teachers",
    "EnsembleTeacher": "teachers",
    "ReusedHead": "teachers",
    "SharedTeacher": "teachers",
    "ShuffledTeacher": "teachers",
    "WritingTeacher": "teachers",
    "InputSpec": "teachers",
    "Itself": "teachers",
    "Term": "objective",
    "Objective": "objective",
    "shares": "objective",
    "Distiller": "distiller",
    "Wiring": "training",
    "Recipe": "recipes",
}


__all__ = sorted(_HOME)

if TYPE_CHECKING:
    from tutelage.distiller import Distiller as Distiller
    from tutelage.errors import TutelageError as TutelageError
    from tutelage.losses import *  # noqa: F403
    from tutelage.losses import Loss as Loss
    from tutelage.losses import Paraphraser as Paraphraser
    from tutelage.normalizers import BatchNormalizer as BatchNormalizer
    from tutelage.normalizers import LayerNormalizer as LayerNormalizer
    from tutelage.normalizers import PHISNormalizer as PHISNormalizer
    from tutelage.objective import Objective as Objective
    from tutelage.objective import Term as Term
    from tutelage.objective import shares as shares
    from tutelage.projectors import AutoProjector as AutoProjector
    from tutelage.projectors import ConvProjector as ConvProjector
    from tutelage.projectors import ExitHead as ExitHead
    from tutelage.projectors import LinearProjector as LinearProjector
    from tutelage.projectors import OrthogonalProjector as OrthogonalProjector
    from tutelage.projectors import TokensToMap as TokensToMap
    from tutelage.recipes import Recipe as Recipe
    from tutelage.schedules import Cosine as Cosine
    from tutelage.schedules import Linear as Linear
    from tutelage.schedules import Piecewise as Piecewise
    from tutelage.signals import Signals as Signals
    from tutelage.signals import SparseLogits as SparseLogits
    from tutelage.signals import Step as Step
    from tutelage.taps import Taps as Taps
    from tutelage.taps import list_layers as list_layers
    from tutelage.taps import match_layers as match_layers
    from tutelage.teachers import CachedTeacher as CachedTeacher
    from tutelage.teachers import CallableTeacher as CallableTeacher
    from tutelage.teachers import EMATeacher as EMATeacher
    from tutelage.teachers import EnsembleTeacher as EnsembleTeacher
    from tutelage.teachers import FrozenTeacher as FrozenTeacher
    from tutelage.teachers import InputSpec as InputSpec
    from tutelage.teachers import Itself as Itself
    from tutelage.teachers import ReusedHead as ReusedHead
    from tutelage.teachers import SharedTeacher as SharedTeacher
    from tutelage.teachers import ShuffledTeacher as ShuffledTeacher
    from tutelage.teachers import Teacher as Teacher
    from tutelage.teachers import WritingTeacher as WritingTeacher
    from tutelage.training import Wiring as Wiring


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        from tutelage.errors import did_you_mean

        hint = did_you_mean(name, _HOME)
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}; {hint}")
    value = getattr(import_module(f"tutelage.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
