"""Losses of tokens."""

from records.kit import Records

RECORDS: Records = {}
