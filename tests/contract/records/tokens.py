"""Losses of tokens."""

from records.kit import Record, Records
from tutelage.losses import MiniLMv2Loss, TopKLoss

RECORDS: Records = {
    # The default of 50 classes would be all of them here.
    "topk": Record(make=lambda: TopKLoss(k=3)),
    "uld": Record(teacher_shape=lambda shape: (*shape[:-1], shape[-1] + 2), free={1}),
    "logistic_ranking": Record(
        minimum=None,
        exempt={"equality": "a logistic cost, which is above 0 for pairs in the right order too"},
    ),
    "margin_mse": Record(
        exempt={"ruled_out": "a squared difference has no limit where a score is infinite"}
    ),
    "hidden_mse": Record(shapes=[(4, 7, 6)]),
    "hidden_cosine": Record(shapes=[(4, 7, 6)]),
    "attention_mse": Record(shapes=[(4, 3, 5, 5), (4, 2, 3, 6)]),
    "attention_ce": Record(
        shapes=[(4, 3, 5, 5), (4, 2, 3, 6)],
        minimum=None,
        exempt={"equality": "a cross-entropy: at equality the entropy of the teacher's attention"},
    ),
    # Only the first token is read, so that the usual layout has none.
    "patient": Record(shapes=[(4, 6), (4, 7, 6)]),
    "minilm_v2": Record(
        make=lambda: MiniLMv2Loss(relation_heads=2),
        layers=3,
        shapes=[(4, 5, 6)],
        teacher_shape=lambda shape: (*shape[:2], 2 * shape[2]),
        fixed=True,  # the width is that of two heads
        free={2},
    ),
}
