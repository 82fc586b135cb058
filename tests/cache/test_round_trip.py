"""What is written comes back."""

from pathlib import Path

import numpy as np
import torch

from tutelage.cache import Layout, Reader, Writer, encode, verify
from tutelage.signals import Signals


def test_dense_float32_comes_back_bit_for_bit(tmp_path: Path) -> None:
    layout = Layout(num_classes=10, dtype="fp32")
    ids = np.arange(40) * 7 - 100
    logits = torch.randn(40, 10)
    logits[3, 4] = -torch.inf
    with Writer.create(tmp_path / "cache", layout, ids, {}) as writer:
        columns = encode(layout, Signals(logits), ids)
        assert writer.write(range(40), 0, columns, np.arange(40)) == 40
        writer.finish()
    rows = Reader(tmp_path / "cache").read(ids[::-1], 0)
    assert isinstance(rows.logits, torch.Tensor)
    assert torch.equal(rows.logits, logits.flip(0))
    assert torch.equal(rows.marks, torch.arange(40).flip(0).byte())
    assert verify(tmp_path / "cache").ok
