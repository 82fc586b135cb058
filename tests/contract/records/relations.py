"""Losses of relations."""

from records.kit import Records

RECORDS: Records = {}
