"""Losses of features."""

from records.kit import Record, Records
from tutelage.losses import VIDLoss

RECORDS: Records = {
    "at": Record(shapes=[(4, 6, 3, 5), (4, 7, 6)]),
    "hint": Record(shapes=[(4, 6, 3, 5), (4, 7, 6), (4, 6)]),
    "vid": Record(
        make=lambda: VIDLoss(channels=6),
        shapes=[(4, 6, 3, 5), (4, 7, 6), (4, 6)],
        minimum=None,
        exempt={"equality": "a log-likelihood: at equal features, half the log of the variance"},
    ),
}
