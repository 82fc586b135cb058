"""Losses of logits."""

import torch

from records.kit import Record, Records
from tutelage.losses import CTKDLoss, WKDLogitsLoss
from tutelage.losses.logits.class_costs import class_costs

RECORDS: Records = {
    "byot": Record(
        minimum=None,
        exempt={"equality": "the labels' cross-entropy is part of it, which is not 0 there"},
    ),
    "hard_label": Record(
        minimum=None,
        exempt={"equality": "a cross-entropy with the teacher's answer, which is not 0"},
    ),
    "ttm": Record(
        minimum=None, exempt={"equality": "its minimum is at the softened teacher, not at equality"}
    ),
    "wttm": Record(
        minimum=None, exempt={"equality": "its minimum is at the softened teacher, not at equality"}
    ),
    "wsld": Record(
        minimum=None,
        exempt={
            "equality": "a cross-entropy, which is not 0 at equality",
            "gradcheck": "its weight moves with the student and is a constant for the gradient",
        },
    ),
    "dist": Record(
        minimum=None,
        exempt={"equality": "its epsilon holds every correlation a little below 1"},
    ),
    "bce_kd": Record(
        minimum=None, exempt={"equality": "a cross-entropy, which is not 0 at equality"}
    ),
    "lskd": Record(exempt={"ruled_out": "a row with an infinite logit has no mean"}),
    "nkd": Record(
        minimum=None, exempt={"equality": "two cross-entropies, which are not 0 at equality"}
    ),
    "logit_mse": Record(
        exempt={"ruled_out": "a squared difference has no limit where a logit is infinite"}
    ),
    "ofa": Record(
        minimum=None,
        exempt={"equality": "the true class weighs more than the teacher's probability of it"},
    ),
    "wkd_logits": Record(
        make=lambda: WKDLogitsLoss(cost=class_costs(torch.randn(5, 8))),
        shapes=[(4, 5), (3, 4, 5), (1, 5)],
        fixed=True,
        minimum=None,
        exempt={
            "equality": "a cross-entropy with the true class, and the blur of the transport",
            "two_classes": "its cost has a number of classes; its own test has two",
        },
    ),
    "ctkd": Record(make=lambda: CTKDLoss(reversal=1.0)),  # whose gradients are the true ones
    "ca_mkd": Record(layers=2),
}
