"""Losses of logits."""

from records.kit import Record, Records

RECORDS: Records = {
    "hard_label": Record(
        minimum=None,
        exempt={"equality": "a cross-entropy with the teacher's answer, which is not 0"},
    ),
    "logit_mse": Record(
        exempt={"ruled_out": "a squared difference has no limit where a logit is infinite"}
    ),
}
