"""Losses of relations."""

from records.kit import Record, Records
from tutelage.losses import CRDLoss

ANY = [(4, 6), (4, 6, 3, 5), (4, 7, 6)]

RECORDS: Records = {
    "sp": Record(shapes=ANY),
    "pkt": Record(shapes=ANY),
    "rkd": Record(shapes=ANY),
    "cc": Record(shapes=ANY),
    "infonce": Record(
        shapes=ANY,
        free=(),
        minimum=None,
        exempt={"equality": "the negatives cost something where every sample is its own match"},
    ),
    "itrd": Record(
        shapes=ANY,
        free=(),
        minimum=None,
        exempt={"equality": "its least value depends on width and batch, see the docstring"},
    ),
    "dark_rank": Record(
        shapes=ANY,
        minimum=None,
        exempt={"equality": "the student's own order is only the most probable one"},
    ),
    "crd": Record(
        make=lambda: CRDLoss(samples=8, negatives=16, dim=6),
        shapes=ANY,
        minimum=None,
        exempt={"equality": "two learned embeddings stand between equal tensors"},
    ),
}
