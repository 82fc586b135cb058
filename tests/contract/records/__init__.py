"""What the contract tests know of each loss; a loss without a record has the default one."""

from records import divergences, features, logits, relations, tokens
from records.kit import Record, Records

_ALL: Records = {
    name: record
    for family in (logits, divergences, features, relations, tokens)
    for name, record in family.RECORDS.items()
}


def record_of(name: str) -> Record:
    """Return the record of a loss."""
    return _ALL.get(name, Record())
