"""Losses of tokens."""

from records.kit import Record, Records
from tutelage.losses import TopKLoss

RECORDS: Records = {
    # The default of 50 classes would be all of them here.
    "topk": Record(make=lambda: TopKLoss(k=3)),
}
