"""Losses of features."""

from records.kit import Record, Records

RECORDS: Records = {
    "at": Record(shapes=[(4, 6, 3, 5), (4, 7, 6)]),
    "hint": Record(shapes=[(4, 6, 3, 5), (4, 7, 6), (4, 6)]),
}
