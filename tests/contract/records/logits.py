"""Losses of logits."""

from records.kit import Record, Records

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
}
