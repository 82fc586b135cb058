"""Losses of features."""

from records.kit import Record, Records
from tutelage.losses import FTLoss
from tutelage.losses.features.paraphraser import Paraphraser

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
            "autocast": "its frozen paraphraser is a network, which autocast is to lower",
        },
    ),
    "vid": Record(
        shapes=[(4, 6, 3, 5), (4, 7, 6), (4, 6)],
        minimum=None,
        exempt={"equality": "a log-likelihood: at equal features, half the log of the variance"},
    ),
}
