"""Losses of features."""

from torch import nn

from records.kit import Record, Records
from tutelage.losses import FTLoss, Loss, OFDLoss, SRRLLoss, ViTKDLoss
from tutelage.losses.features.paraphraser import Paraphraser


def _srrl() -> Loss:
    loss = SRRLLoss()
    loss.borrow(nn.Linear(6, 5))
    return loss


def _ofd() -> Loss:
    loss = OFDLoss()
    loss.borrow(nn.BatchNorm2d(6))
    return loss


RECORDS: Records = {
    "at": Record(shapes=[(4, 6, 3, 5), (4, 7, 6)], free=(1,)),
    "hint": Record(shapes=[(4, 6, 3, 5), (4, 7, 6), (4, 6)]),
    "ft": Record(
        make=lambda: FTLoss(paraphraser=Paraphraser(6, rate=0.5)),
        shapes=[(4, 3, 4, 5)],
        teacher_shape=lambda shape: (shape[0], 6, *shape[2:]),
        minimum=None,
        fixed=True,
        free=(1,),
        exempt={
            "equality": "the student's factor and the teacher's map are of different width",
            "own_gradcheck": "its paraphraser is trained before it and frozen in it",
            "autocast": "its frozen paraphraser is a network, which autocast is to lower",
        },
    ),
    "mgd": Record(shapes=[(4, 6, 3, 5), (4, 7, 6)]),
    "reviewkd": Record(
        shapes=[((4, 6, 5, 6), (4, 5, 3, 3), (4, 3, 1, 1)), ((4, 6, 3, 5),)],
        fixed=True,
    ),
    "srrl": Record(
        make=_srrl,
        shapes=[(4, 6, 3, 5), (4, 7, 6), (4, 6)],
        fixed=True,
        free=(2, 3),
    ),
    "vitkd": Record(
        make=lambda: ViTKDLoss(mimic_weight=1, generation_weight=0.5),
        shapes=[(4, 7, 6)],
        layers=3,
    ),
    "vid": Record(
        shapes=[(4, 6, 3, 5), (4, 7, 6), (4, 6)],
        minimum=None,
        exempt={"equality": "a log-likelihood: at equal features, half the log of the variance"},
    ),
    "ab": Record(
        shapes=[(4, 6, 3, 5), (4, 7, 6), (4, 6)],
        minimum=None,
        exempt={"equality": "it asks for the teacher's signs by a margin, not for its values"},
    ),
    "cwd": Record(shapes=[(4, 6, 3, 5)]),
    "fsp": Record(
        shapes=[(4, 6, 3, 5), ((4, 3, 4, 4), (4, 5, 2, 4))],
        layers=3,
        free=(2, 3),
        exempt={"extreme": "in features to the fourth power, its true gradient is beyond fp16"},
    ),
    "ickd": Record(free=(2, 3)),
    "layers": Record(shapes=[(4, 6, 3, 5), (4, 7, 6), ((4, 6), (4, 3, 2))], layers=2),
    "nst": Record(free=(1,)),
    "ofd": Record(make=_ofd, shapes=[(4, 6, 3, 5)], fixed=True),
    "pkd": Record(shapes=[(4, 6, 3, 5)]),
    "pooled_feature": Record(shapes=[(4, 6, 3, 5), (4, 7, 6), (4, 6)], free=(2, 3)),
    "srd": Record(
        shapes=[(4, 6), (4, 7, 6), (4, 6, 3, 5)],
        minimum=None,
        free=(),
        exempt={"equality": "the logarithm of a distance has no lower bound"},
    ),
    "vkd": Record(
        shapes=[(4, 6), (4, 7, 6), (4, 6, 3, 5)],
        minimum=None,
        exempt={"equality": "the student meets the normalised teacher, not the teacher"},
    ),
    "wkd_features": Record(free=(2, 3)),
}
