"""The header of a safetensors file, written by hand so that the file can be made in its full size.

Eight bytes with the length of a JSON text (little-endian), the text, padded with spaces to a
multiple of eight, then the bytes of the tensors one after the other.
"""

import json
from collections.abc import Mapping, Sequence

from tutelage.cache.spec import Column


def header_of(columns: Sequence[Column], rows: int, notes: Mapping[str, str]) -> bytes:
    """Return the header of a file with these columns, each ``rows`` long.

    Args:
        columns: In the order of their bytes.
        rows: The length of the first axis.
        notes: The file's ``__metadata__``: strings.

    >>> header_of([Column("done", "U8")], 3, {})[8:].decode().rstrip()
    '{"__metadata__":{},"done":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'
    """
    entries: dict[str, object] = {"__metadata__": dict(notes)}
    at = 0
    for column in columns:
        end = at + rows * column.width
        entries[column.name] = {
            "dtype": column.dtype,
            "shape": [rows, *column.shape],
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
