"""Losses of divergences."""

from records.kit import Records

RECORDS: Records = {}
