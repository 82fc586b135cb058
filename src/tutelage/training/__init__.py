"""Training on plain torch: the loop, its settings, evaluation, checkpoints and comparisons."""

from tutelage.training.checkpoint import load_checkpoint, newest_checkpoint
from tutelage.training.compare import Arm, ArmResult, compare
from tutelage.training.distributed import Ranks, open_ranks, pick_device
from tutelage.training.durable import save_student
from tutelage.training.evaluation import Evaluation, evaluate
from tutelage.training.identity import check_identity, identity_of
from tutelage.training.journal import OnProgress
from tutelage.training.labelling import Labelled, label
from tutelage.training.loop import fit
from tutelage.training.reach import unreached
from tutelage.training.result import FitResult, Scores
from tutelage.training.seeds import forked, seed_everything
from tutelage.training.settings import TrainingSettings
from tutelage.training.stages import Stage, fit_in_stages
from tutelage.training.wiring import Wiring, inspect_wiring

__all__ = [
    "Arm",
    "ArmResult",
    "Evaluation",
    "FitResult",
    "Labelled",
    "OnProgress",
    "Ranks",
    "Scores",
    "Stage",
    "TrainingSettings",
    "Wiring",
    "check_identity",
    "compare",
    "evaluate",
    "fit",
    "fit_in_stages",
    "forked",
    "identity_of",
    "inspect_wiring",
    "label",
    "load_checkpoint",
    "newest_checkpoint",
    "open_ranks",
    "pick_device",
    "save_student",
    "seed_everything",
    "unreached",
]
