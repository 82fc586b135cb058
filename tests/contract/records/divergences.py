"""Losses of divergences."""

from records.kit import Record, Records

_INFINITE = {
    "ruled_out": "the divergence from the student is infinite where only the teacher has no mass"
}

RECORDS: Records = {
    "reverse_kl": Record(exempt=_INFINITE),
    "symmetric_kl": Record(exempt=_INFINITE),
    "adaptive_kl": Record(
        exempt={
            **_INFINITE,
            "gradcheck": "the shares of the two directions are constants, whatever the student",
        }
    ),
}
