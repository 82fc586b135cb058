"""What a row of a cache holds: the columns, their types and shapes."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tutelage import _check
from tutelage.errors import InputError

# As safetensors names them. bfloat16 is unknown to numpy, which handles its bits.
_NUMPY = {"I64": "<i8", "F32": "<f4", "U32": "<u4", "F16": "<f2", "BF16": "<u2", "U16": "<u2"}
_NUMPY["U8"] = "|u1"
_FLOATS = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}

LOGITS, TOP_IDS, TOP_LOG_PROBS, REST = "logits", "top_ids", "top_log_probs", "rest"


def log_total_name(temperature: float) -> str:
    """Return the name of the column with the log-totals at ``temperature``.

    >>> log_total_name(4)
    'log_total@4.0'
    """
    return f"log_total@{float(temperature)!r}"


def tap_name(tap: str) -> str:
    """Return the name of the column with a tap.

    >>> tap_name("layer3")
    'tap:layer3'
    """
    return f"tap:{tap}"


@dataclass(frozen=True)
class Column:
    """One value, or one array of values, of every row.

    Args:
        name: As in the shard's header.
        dtype: As safetensors names it: ``"F16"``.
        shape: Of one row; ``()`` for one value.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()

    @property
    def numpy(self) -> np.dtype[Any]:
        """The type in numpy; bfloat16 appears as the 16 bits that it consists of."""
        return np.dtype(_NUMPY[self.dtype])

    @property
    def width(self) -> int:
        """Bytes in one row."""
        return self.numpy.itemsize * math.prod(self.shape)


@dataclass(frozen=True)
class TapSpec:
    """An inner tensor of the teacher.

    Args:
        name: As the teacher's taps call it.
        shape: Of one sample, without the batch axis.
    """

    name: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(_check.count(n, "tap shape") for n in self.shape))


@dataclass(frozen=True)
class Layout:
    """What is kept of the teacher for each view of each sample.

    Args:
        num_classes: Classes of the logits, at least 2; ``None`` keeps taps only.
        top_k: How many of the likeliest classes are kept; ``None`` keeps all logits (*dense*).
            More than there are classes keeps them all.
        temperatures: Those of the softmaxes that a top-k cache shall serve exactly, above 0. For
            each of them other than 1 a row carries the log of the sum over *all* classes. A dense
            cache serves every temperature and drops them.
        dtype: ``"fp32"``, ``"fp16"`` or ``"bf16"``: of dense logits, log-probabilities and taps.
        taps: Inner tensors to keep beside the logits.
        views: How many random versions of each sample there are.
        view_seed: The seed from which the versions are drawn.

    Raises:
        InputError: If nothing would be kept, or a number is out of range.

    >>> Layout(num_classes=1000, top_k=10, temperatures=(4.0,)).row_bytes
    52
    """

    num_classes: int | None = None
    top_k: int | None = None
    temperatures: tuple[float, ...] = ()
    dtype: str = "fp16"
    taps: tuple[TapSpec, ...] = ()
    views: int = 1
    view_seed: int = 0

    def __post_init__(self) -> None:
        _check.one_of(self.dtype, tuple(_FLOATS), "cache dtype")
        _check.count(self.views, "cache views")
        if self.num_classes is None and (self.top_k is not None or not self.taps):
            raise InputError(
                "cache layout: expected logits or taps to keep, found neither; give num_classes, "
                "or the taps alone"
            )
        if self.num_classes is not None and _check.count(self.num_classes, "num_classes") < 2:
            raise InputError("num_classes: expected at least 2, found 1; give two outputs")
        if self.top_k is not None:
            _check.count(self.top_k, "top_k")
        names = [tap.name for tap in self.taps]
        if len(set(names)) < len(names):
            raise InputError(f"cache taps: expected each name once, found {', '.join(names)}")
        asked = {_check.positive(t, "cache temperatures") for t in self.temperatures} - {1.0}
        kept = tuple(sorted(asked)) if self.top_k is not None else ()
        object.__setattr__(self, "temperatures", kept)
        object.__setattr__(self, "taps", tuple(self.taps))

    @property
    def kept(self) -> int | None:
        """How many classes a row of a top-k cache has; ``None`` for dense ones."""
        if self.top_k is None or self.num_classes is None:
            return None
        return min(self.top_k, self.num_classes)

    @property
    def payload(self) -> tuple[Column, ...]:
        """The columns with what the teacher said, widest type first, then by name."""
        floats = _FLOATS[self.dtype]
        columns = [Column(tap_name(tap.name), floats, tap.shape) for tap in self.taps]
        if self.num_classes is not None and self.kept is None:
            columns.append(Column(LOGITS, floats, (self.num_classes,)))
        elif self.num_classes is not None and self.kept is not None:
            indices = "U16" if self.num_classes <= 2**16 else "U32"
            columns += [
                Column(TOP_IDS, indices, (self.kept,)),
                Column(TOP_LOG_PROBS, floats, (self.kept,)),
                Column(REST, floats),
                *(Column(log_total_name(t), "F32") for t in self.temperatures),
            ]
        return _in_order(columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of a shard: the payload, and the cache's own three.

        ``mark`` is a sketch of the pixels that the teacher saw, ``crc`` the checksum of the row,
        ``done`` 1 once the row is written.
        """
        own = [Column("mark", "U8"), Column("crc", "U32"), Column("done", "U8")]
        return _in_order([*self.payload, *own])

    @property
    def row_bytes(self) -> int:
        """Bytes on the disk for one view of one sample."""
        return sum(column.width for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads: lists, numbers and strings."""
        fields = asdict(self)
        fields["temperatures"] = list(self.temperatures)
        fields["taps"] = [{"name": tap.name, "shape": list(tap.shape)} for tap in self.taps]
        return fields

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Layout":
        """Return the layout that :meth:`to_json` wrote.

        Raises:
            TypeError: If the fields are not those of a layout.
            TutelageError: If a value is out of range.
        """
        taps = tuple(TapSpec(**{**tap, "shape": tuple(tap["shape"])}) for tap in fields["taps"])
        return cls(**{**fields, "taps": taps, "temperatures": tuple(fields["temperatures"])})


def _in_order(columns: list[Column]) -> tuple[Column, ...]:
    """Sort so that every column starts at a multiple of its type's size, as safetensors does."""
    return tuple(sorted(columns, key=lambda column: (-column.numpy.itemsize, column.name)))
