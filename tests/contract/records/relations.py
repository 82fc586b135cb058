"""Losses of relations."""

import math

from records.kit import Record, Records
from tutelage.losses import CRDLoss


def _crd() -> CRDLoss:
    loss = CRDLoss(samples=8, negatives=16, dim=6)
    loss.log_z.fill_(math.log(8))  # as after the first batch, which sets it as a constant
    return loss


ANY = [(4, 6), (4, 6, 3, 5), (4, 7, 6)]

RECORDS: Records = {
    "sp": Record(shapes=ANY),
    "pkt": Record(
        shapes=ANY,
        exempt={
            "equality": "its eps moves the gradient at equality from 0, by 1e-8 (see its test)"
        },
    ),
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
        make=_crd,
        shapes=ANY,
        minimum=None,
        exempt={"equality": "two learned embeddings stand between equal tensors"},
    ),
}
