"""Which row of a memory bank belongs to which sample."""

import torch
from jaxtyping import Int
from torch import Tensor, nn

from tutelage.errors import DataError, InputError


class Rows(nn.Module):
    """A row for each of so many numbered samples, or for each of some samples of any numbers.

    Args:
        count: How many rows; a sample's id is its row. ``None`` until :meth:`learn`.
        who: Whose bank it is, for messages.
    """

    known: Tensor | None

    def __init__(self, count: int | None, *, who: str) -> None:
        super().__init__()
        self.count, self.who = count, who
        self.register_buffer("known", None)

    def learn(self, ids: Int[Tensor, "N"]) -> None:
        """Give each of these samples a row, in the order of their ids, and no other.

        Raises:
            DataError: An id stands twice.
        """
        known = ids.sort().values
        again = int((known[1:] == known[:-1]).sum())
        if again:
            raise DataError(
                f"{self.who}: expected each id once, found {again} of them again; give the ids of "
                "the training samples"
            )
        self.known, self.count = known, len(known)

    def some_ids(self, count: int) -> Int[Tensor, "count"]:
        """Return ids that have a row, over and over if there are fewer."""
        known = torch.arange(self.count or count) if self.known is None else self.known
        return known[torch.arange(count, device=known.device) % max(len(known), 1)]

    def of(self, ids: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Return the rows of some samples. On a CPU, where it costs little, they are checked.

        Raises:
            InputError: It is not known how many samples there are.
            DataError: A sample has no row.
        """
        if self.count is None:
            raise InputError(
                f"{self.who}: expected the size of its banks, found none; give "
                f"{self.who}(samples=...), a number above every sample's id, or call know(ids)"
            )
        is_checked = ids.device.type == "cpu" and ids.numel() and not torch.compiler.is_compiling()
        if self.known is None:
            if is_checked and not 0 <= int(ids.min()) <= int(ids.max()) < self.count:
                raise DataError(
                    f"{self.who}: expected ids from 0 to {self.count - 1}, found {int(ids.min())} "
                    f"to {int(ids.max())}; give {self.who}(samples=...) a number above every "
                    "sample's id"
                )
            return ids
        known = self.known.to(ids.device)
        rows = torch.searchsorted(known, ids).clamp(max=len(known) - 1)
        if is_checked and len(strange := ids[known[rows] != ids]):
            raise DataError(
                f"{self.who}: expected ids that know() was told of, found {int(strange[0])}; tell "
                "it all training samples"
            )
        return rows
