"""The losses: one paper, one file, in one folder a family. A new one adds its import line here."""

from importlib.metadata import entry_points

from tutelage.errors import InputError
from tutelage.losses.base import Loss as Loss
from tutelage.losses.divergences.ab_divergence import ABDivergenceLoss as ABDivergenceLoss
from tutelage.losses.divergences.adaptive_kl import AdaptiveKLLoss as AdaptiveKLLoss
from tutelage.losses.divergences.alpha_divergence import AlphaDivergenceLoss as AlphaDivergenceLoss
from tutelage.losses.divergences.jsd import JSDLoss as JSDLoss
from tutelage.losses.divergences.reverse_kl import ReverseKLLoss as ReverseKLLoss
from tutelage.losses.divergences.skew_kl import SkewKLLoss as SkewKLLoss
from tutelage.losses.divergences.symmetric_kl import SymmetricKLLoss as SymmetricKLLoss
from tutelage.losses.divergences.total_variation import TotalVariationLoss as TotalVariationLoss
from tutelage.losses.features.ab import ABLoss as ABLoss
from tutelage.losses.features.at import ATLoss as ATLoss
from tutelage.losses.features.cwd import CWDLoss as CWDLoss
from tutelage.losses.features.fsp import FSPLoss as FSPLoss
from tutelage.losses.features.ft import FTLoss as FTLoss
from tutelage.losses.features.hint import HintLoss as HintLoss
from tutelage.losses.features.ickd import ICKDLoss as ICKDLoss
from tutelage.losses.features.layers import LayersLoss as LayersLoss
from tutelage.losses.features.mgd import MGDLoss as MGDLoss
from tutelage.losses.features.nst import NSTLoss as NSTLoss
from tutelage.losses.features.ofd import OFDLoss as OFDLoss
from tutelage.losses.features.paraphraser import Paraphraser as Paraphraser
from tutelage.losses.features.pkd import PKDLoss as PKDLoss
from tutelage.losses.features.pooled import PooledFeatureLoss as PooledFeatureLoss
from tutelage.losses.features.reviewkd import ReviewKDLoss as ReviewKDLoss
from tutelage.losses.features.simkd import SimKDLoss as SimKDLoss
from tutelage.losses.features.srd import SRDLoss as SRDLoss
from tutelage.losses.features.srrl import SRRLLoss as SRRLLoss
from tutelage.losses.features.vid import VIDLoss as VIDLoss
from tutelage.losses.features.vitkd import ViTKDLoss as ViTKDLoss
from tutelage.losses.features.vkd import VkDLoss as VkDLoss
from tutelage.losses.features.wkd_features import WKDFeaturesLoss as WKDFeaturesLoss
from tutelage.losses.logits.bce import BCELoss as BCELoss
from tutelage.losses.logits.bce_kd import BCEKDLoss as BCEKDLoss
from tutelage.losses.logits.byot import BYOTLoss as BYOTLoss
from tutelage.losses.logits.ca_mkd import CAMKDLoss as CAMKDLoss
from tutelage.losses.logits.ce import CELoss as CELoss
from tutelage.losses.logits.ctkd import CTKDLoss as CTKDLoss
from tutelage.losses.logits.dist import DISTLoss as DISTLoss
from tutelage.losses.logits.dkd import DKDLoss as DKDLoss
from tutelage.losses.logits.gram import BatchGramLoss as BatchGramLoss
from tutelage.losses.logits.gram import ClassGramLoss as ClassGramLoss
from tutelage.losses.logits.hard_label import HardLabelLoss as HardLabelLoss
from tutelage.losses.logits.kd import KDLoss as KDLoss
from tutelage.losses.logits.logit_mse import LogitMSELoss as LogitMSELoss
from tutelage.losses.logits.lskd import LSKDLoss as LSKDLoss
from tutelage.losses.logits.nkd import NKDLoss as NKDLoss
from tutelage.losses.logits.ofa import OFALoss as OFALoss
from tutelage.losses.logits.teacher_free import TeacherFreeKDLoss as TeacherFreeKDLoss
from tutelage.losses.logits.ttm import TTMLoss as TTMLoss
from tutelage.losses.logits.wkd_logits import WKDLogitsLoss as WKDLogitsLoss
from tutelage.losses.logits.wsld import WSLDLoss as WSLDLoss
from tutelage.losses.logits.wttm import WTTMLoss as WTTMLoss
from tutelage.losses.relations.cc import CCLoss as CCLoss
from tutelage.losses.relations.crd import CRDLoss as CRDLoss
from tutelage.losses.relations.dark_rank import DarkRankLoss as DarkRankLoss
from tutelage.losses.relations.infonce import InfoNCELoss as InfoNCELoss
from tutelage.losses.relations.itrd import ITRDLoss as ITRDLoss
from tutelage.losses.relations.pkt import PKTLoss as PKTLoss
from tutelage.losses.relations.rkd import RKDLoss as RKDLoss
from tutelage.losses.relations.sp import SPLoss as SPLoss
from tutelage.losses.tokens.attention import AttentionCELoss as AttentionCELoss
from tutelage.losses.tokens.attention import AttentionMSELoss as AttentionMSELoss
from tutelage.losses.tokens.cosine import HiddenCosineLoss as HiddenCosineLoss
from tutelage.losses.tokens.hidden import HiddenMSELoss as HiddenMSELoss
from tutelage.losses.tokens.margin_mse import MarginMSELoss as MarginMSELoss
from tutelage.losses.tokens.minilm import MiniLMv2Loss as MiniLMv2Loss
from tutelage.losses.tokens.patient import PatientKDLoss as PatientKDLoss
from tutelage.losses.tokens.ranking import HingeRankingLoss as HingeRankingLoss
from tutelage.losses.tokens.ranking import LogisticRankingLoss as LogisticRankingLoss
from tutelage.losses.tokens.token import TokenLoss as TokenLoss
from tutelage.losses.tokens.topk import TopKLoss as TopKLoss
from tutelage.losses.tokens.uld import ULDLoss as ULDLoss

# Losses of losses: public, but nothing that a recipe could build from its name and options alone.
_WRAPPERS: tuple[type[Loss], ...] = (TokenLoss,)

_OWN: dict[str, type[Loss]] = {
    found.name: found
    for found in tuple(globals().values())
    if isinstance(found, type) and issubclass(found, Loss) and found not in (Loss, *_WRAPPERS)
}

__all__ = [
    "Loss",
    "Paraphraser",
    "index",
    *sorted(loss.__name__ for loss in (*_OWN.values(), *_WRAPPERS)),
]


def index() -> dict[str, type[Loss]]:
    """Return every loss by its name: ours, and those of packages with entry points.

    A package adds its own through the entry-point group ``tutelage.losses``; the key is the
    ``name`` of the class.

    Raises:
        InputError: A package's entry is no subclass of :class:`Loss`, or takes a taken name.

    >>> index()["kd"]
    <class 'tutelage.losses.logits.kd.KDLoss'>
    """
    losses = dict(_OWN)
    for entry in entry_points(group="tutelage.losses"):
        loss = entry.load()
        if not (isinstance(loss, type) and issubclass(loss, Loss)):
            raise InputError(
                f"entry point {entry.name} = {entry.value}: expected a subclass of "
                f"tutelage.losses.Loss, found {loss!r}; correct or remove that package"
            )
        if losses.get(loss.name, loss) is not loss:
            raise InputError(
                f"entry point {entry.name} = {entry.value}: expected a new name, found "
                f"{loss.name!r}, the name of {losses[loss.name]!r}; rename that loss"
            )
        losses[loss.name] = loss
    return losses
