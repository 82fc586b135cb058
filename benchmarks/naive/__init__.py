"""The naive form of each loss: the textbook composition of torch's functions."""

from naive import divergences, features, logits, relations, tokens
from naive.kit import Naive

TABLE: dict[str, Naive] = {
    name: entry
    for family in (logits, divergences, features, relations, tokens)
    for name, entry in family.TABLE.items()
}
# Losses that have none, and why.
WITHOUT = {
    "ft": "nearly all of it is the paraphraser, a network of three convolutions",
}
