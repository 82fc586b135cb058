"""Contrastive representation distillation (Tian, Krishnan and Isola, ICLR 2020, 1910.10699)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import Loss, widen
from tutelage.losses.reduction import mean_of_kept
from tutelage.losses.relations.bank import MemoryBank, draw, of_all_processes
from tutelage.losses.relations.geometry import unit
from tutelage.losses.relations.rows import Rows
from tutelage.signals import pooled

CHUNK = 2**24  # scores that are held at once: 64 MiB in float32
EPS = 1e-7  # of the released code; it keeps its quotients away from 0 / 0


def noise_contrast(
    log_ratio: Float[Tensor, "B M"], *, noise: float, eps: float = EPS
) -> Float[Tensor, "B"]:
    r"""Measure how hard it is to tell a sample's own vector from those drawn at random.

    .. math:: -\log \frac{p_0}{p_0 + c + \epsilon} - \sum_{k=1}^{m} \log \frac{c}{p_k + c +
        \epsilon}, \qquad p_k = \frac{1}{Z} e^{v^\top b_k / T}, \quad c = \frac{m}{n}

    (equations 17 to 19 of the paper, with the estimate of its section 3.4). It is the logistic
    regression of "own or drawn" from :math:`\log p_k - \log(c + \epsilon)`.

    Args:
        log_ratio: :math:`\log p_k`; the first column is the sample's own.
        noise: c above 0, how often a vector is drawn.
        eps: :math:`\epsilon` of at least 0.

    Returns:
        Nats per sample, at least 0.

    >>> noise_contrast(torch.zeros(1, 3), noise=1.0, eps=0.0)  # three times log 2
    tensor([2.0794])
    """
    x = log_ratio - math.log(noise + eps)
    drawn = F.softplus(x[:, 1:]).sum(1) + (x.shape[1] - 1) * math.log1p(eps / noise)
    return F.softplus(-x[:, 0]) + drawn


class CRDLoss(Loss):
    r"""Contrast with banks of all samples' vectors, both ways. See :func:`noise_contrast`.

    Both sides are embedded (a linear map to ``dim``, length 1). The student's vector is told
    among the bank of the teacher's vectors and the reverse, and both values are added. Then the
    banks take up the new vectors. It needs the samples' ids. Maps and tokens are averaged first.

    It owns two embeddings that train, sized with the first batch; two banks of
    :math:`2 n d \cdot 4` bytes together (51 MB at n = 50,000 and d = 128, 1.3 GB for ImageNet);
    and Z of each side, set by the first batch in training and kept. All of it is saved with the
    state, and what is drawn follows from ``seed`` and a counter that is saved too. Besides, it
    holds some chunks of 64 MiB of scores, whatever the batch, and B m draws of 8 bytes.

    In eval mode, or without gradients, nothing moves. The gradient has none of its own: asked for
    with ``create_graph=True`` it raises. Several processes each judge their own
    samples and share the new vectors, so that all banks stay equal to those of one process: DDP
    need not broadcast buffers. A compiled step is quicker if one step ran before: it then knows
    that Z is set. Negatives that leave out the sample's own class are not offered, so that it
    needs no labels.

    **Batch:** none, once Z is set: the value is a mean over samples. **Negatives:** it starts near
    2 (log m + 1): measured 17.4 nats at m = 1,024 and 22.9 at the 16,384 of the paper, with banks
    of 1,797 samples and of 20,000 alike. **Resolution:** none after the mean.

    Args:
        samples: n, the number of rows of a bank: above every id. It has to be stated, unless
            :meth:`know` tells the ids. Rows that training never visits stay random, and to tell a
            sample from random vectors teaches little: count the samples that are trained on.
        negatives: m, how many vectors are drawn for each sample, with replacement.
        dim: d, the width of the vectors.
        temperature: T above 0.
        momentum: Share of the old vector that an update keeps, from 0 to 1.
        seed: Of the draws and of the banks' start.

    >>> CRDLoss(samples=50_000).bank_teacher.vectors.shape
    torch.Size([50000, 128])
    """

    name = "crd"
    paper = "1910.10699"
    compares = "features"
    needs_ids = True

    log_z: Tensor
    turn: Tensor

    def __init__(
        self,
        *,
        samples: int | None = None,
        negatives: int = 16384,
        dim: int = 128,
        temperature: float = 0.07,
        momentum: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {"negatives": negatives, "dim": dim} | (
            {} if samples is None else {"samples": samples}
        )
        for name, count in counts.items():
            if not isinstance(count, int) or count < 1:
                raise InputError(f"CRDLoss.{name}: expected a whole number above 0, found {count}")
        self.rows = Rows(samples, who="CRDLoss")
        self.negatives, self.dim, self.seed = negatives, dim, seed
        self.temperature = _check.positive(temperature, "CRDLoss.temperature")
        self.momentum = _check.fraction(momentum, "CRDLoss.momentum")
        self.embed_student, self.embed_teacher = nn.LazyLinear(dim), nn.LazyLinear(dim)
        self.bank_student, self.bank_teacher = (
            MemoryBank(samples or 0, dim, momentum=self.momentum, seed=2 * seed + side)
            for side in range(2)
        )
        # log Z of the student's and the teacher's scores: Z is 0 until a batch sets it.
        self.register_buffer("log_z", torch.full((2,), -torch.inf))
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))
        self._is_set = False  # that log_z is known to hold numbers, without asking the device
        self.register_load_state_dict_post_hook(_ask_again)  # type: ignore[no-untyped-call]

    def know(self, ids: Tensor) -> None:
        """Keep a row for each of these samples, whatever their numbers, and no other.

        The banks start anew. Recipes call it with the images that the student is trained on.

        Raises:
            DataError: An id stands twice.
        """
        self.rows.learn(ids.to(self.log_z.device))
        for side, name in enumerate(("bank_student", "bank_teacher")):
            bank = MemoryBank(len(ids), self.dim, momentum=self.momentum, seed=2 * self.seed + side)
            setattr(self, name, bank.to(self.log_z.device))

    def some_ids(self, count: int) -> Tensor:
        """Return ids that the banks know, over and over if there are fewer."""
        return self.rows.some_ids(count)

    @property
    def samples(self) -> int | None:
        """The number of rows of a bank, once it is known."""
        return self.rows.count

    @property
    def is_sized(self) -> bool:
        """Whether the widths of both sides are known."""
        return not (is_lazy(self.embed_student.weight) or is_lazy(self.embed_teacher.weight))

    def size_for(self, student: Tensor, teacher: Tensor) -> None:
        """Learn the widths from one pair of tensors; twice is harmless."""
        for embed, tensor in ((self.embed_student, student), (self.embed_teacher, teacher)):
            if is_lazy(embed.weight):
                width = pooled(tensor[:1].detach()).shape[1]
                embed(torch.zeros(1, width, device=embed.weight.device, dtype=embed.weight.dtype))

    def forward(
        self,
        student: Tensor,
        teacher: Tensor | None,
        target: Tensor | None = None,
        ids: Tensor | None = None,
        contrast_index: Tensor | None = None,
    ) -> Tensor:
        """Return the mean over samples, in nats; the target is not read.

        Args:
            student: ``[B, ...]``.
            teacher: ``[B, ...]``.
            target: Not read.
            ids: The samples' ids ``[B]``, each below ``samples``.
            contrast_index: Instead of draws, the rows to tell apart ``[B, 1 + m]``; the first
                column is the sample's own.

        Raises:
            InputError: The ids, or the number of samples, are missing.
            DataError: An id is out of range.
        """
        teacher = _check.present(teacher, "CRDLoss", "the teacher's features", "add a teacher")
        ids = self._checked(student, teacher, ids)
        if not torch.compiler.is_compiling():  # which sizes before it compiles
            self.size_for(student, teacher)
        self._check_widths(student, teacher)
        with torch.autocast(student.device.type, enabled=False):
            v_s = _embedded(student, self.embed_student)
            v_t = _embedded(teacher.detach(), self.embed_teacher)
            index = self._index(ids) if contrast_index is None else contrast_index
            log_z = self._log_z(v_s, v_t, index)
            by_student = self._told(v_s, self.bank_teacher.vectors, index, log_z[0])
            by_teacher = self._told(v_t, self.bank_student.vectors, index, log_z[1])
            if self._moves:
                self._learn(ids, v_s, v_t, log_z)
        return mean_of_kept(by_student + by_teacher)

    @property
    def _moves(self) -> bool:
        return self.training and torch.is_grad_enabled()

    def _index(self, ids: Tensor) -> Tensor:
        own = ids.unsqueeze(1)
        drawn = draw(ids, self.negatives, len(self.bank_student), seed=self.seed, turn=self.turn)
        return torch.cat([own, drawn], dim=1)

    def _log_z(self, v_s: Tensor, v_t: Tensor, index: Tensor) -> Tensor:
        """Return log Z of both sides: as it is kept, or as this batch estimates it."""
        if not self._is_set and not torch.compiler.is_compiling():
            self._is_set = bool(self.log_z.isfinite().all())
        if self._is_set:
            return self.log_z
        sides = ((v_s, self.bank_teacher), (v_t, self.bank_student))
        sums = [self._log_sum(v.detach(), bank.vectors, index) for v, bank in sides]
        count = sums[0].new_tensor(float(index.numel())).log()
        found = torch.stack([*sums, count]).unsqueeze(0)
        if self._moves:
            found = of_all_processes(found)
        total = found.logsumexp(0)
        found = total[:2] - total[2] + math.log(len(self.bank_student))
        return torch.where(self.log_z.isfinite(), self.log_z, found)

    def _log_sum(self, v: Tensor, bank: Tensor, index: Tensor) -> Tensor:
        parts = [
            self._scores(v[rows], bank, index[rows])[0].flatten()
            for rows in self._chunks(v, index.shape[1])
        ]
        sums = [part.logsumexp(0) for part in parts]
        return torch.stack([v.new_tensor(-torch.inf), *sums]).logsumexp(0)

    def _told(self, v: Tensor, bank: Tensor, index: Tensor, log_z: Tensor) -> Float[Tensor, "B"]:
        """Return the contrast of each vector with rows of a bank.

        The gradient is worked out at once: its vectors are all that the backward keeps. Kept
        scores would be B * m numbers, and kept rows would be gone after the banks' update.
        """
        noise = (index.shape[1] - 1) / len(bank)
        values, gradients = v.new_zeros(len(v)), torch.zeros_like(v)
        with torch.no_grad():
            for rows in self._chunks(v, index.shape[1]):
                scores, vectors = self._scores(v[rows], bank, index[rows])
                log_p = scores - log_z
                values[rows] = noise_contrast(log_p, noise=noise)
                slope = (log_p - math.log(noise + EPS)).sigmoid()
                slope[:, 0] -= 1
                if vectors is not None:
                    gradients[rows] = (slope.unsqueeze(1) @ vectors).squeeze(1) / self.temperature
                    continue
                slopes = slope.new_zeros(len(slope), len(bank)).scatter_add_(1, index[rows], slope)
                gradients[rows] = slopes @ bank.to(v.dtype) / self.temperature
        told: Tensor = values + ((v - v.detach()) * gradients).sum(1)
        if told.requires_grad and not torch.compiler.is_compiling():  # which refuses by itself
            told.register_hook(_refuse_another)  # type: ignore[no-untyped-call]
        return told

    def _scores(self, v: Tensor, bank: Tensor, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the scores of drawn rows, and those rows where it was cheaper to fetch them.

        Few draws from a large bank are fetched; many are read off the product with all of it,
        which streams through memory: they cost the same at about one draw in 64 rows.
        """
        if self._fetches(index.shape[1]):
            vectors = bank[index].to(v.dtype)
            return (vectors @ v.unsqueeze(2)).squeeze(2) / self.temperature, vectors
        scores = (v @ bank.mT.to(v.dtype)).gather(1, index)
        return scores / self.temperature, None

    def _fetches(self, width: int) -> bool:
        return 64 * width <= len(self.bank_student)

    def _chunks(self, v: Tensor, width: int) -> list[slice]:
        row = width * self.dim if self._fetches(width) else max(len(self.bank_student), width)
        step = max(1, CHUNK // row)
        return [slice(start, start + step) for start in range(0, len(v), step)]

    def _learn(self, ids: Tensor, v_s: Tensor, v_t: Tensor, log_z: Tensor) -> None:
        ids, v_s, v_t = map(of_all_processes, (ids, v_s, v_t))
        self.bank_student.update(ids, v_s)
        self.bank_teacher.update(ids, v_t)
        with torch.no_grad():
            self.turn += 1
            if not self._is_set:
                self.log_z.copy_(log_z)

    def _checked(self, student: Tensor, teacher: Tensor, ids: Tensor | None) -> Tensor:
        advice = "give them to the distiller: distiller(inputs, target, ids)"
        ids = _check.present(ids, "CRDLoss", "the samples' ids [B]", advice)
        if not student.shape[:1] == teacher.shape[:1] == ids.shape or student.ndim < 2:
            raise ShapeError(
                f"CRDLoss: expected features [B, ...] and ids [B] of one batch, found student "
                f"{_check.shape(student)} vs teacher {_check.shape(teacher)} with ids "
                f"{_check.shape(ids)}; use the same batch"
            )
        return self.rows.of(ids).to(student.device)

    def _check_widths(self, student: Tensor, teacher: Tensor) -> None:
        sides = ((self.embed_student, student), (self.embed_teacher, teacher))
        expected = [embed.weight.shape[1] for embed, _ in sides]
        if expected != [pooled(tensor[:1].detach()).shape[1] for _, tensor in sides]:
            raise ShapeError(
                f"CRDLoss: expected {expected[0]} and {expected[1]} channels, found student "
                f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; use one CRDLoss for "
                "each pair of layers"
            )


def _embedded(feature: Tensor, embed: nn.Linear) -> Float[Tensor, "B D"]:
    rows = pooled(widen(feature))
    return unit(F.linear(rows, embed.weight.to(rows.dtype), embed.bias.to(rows.dtype)))


def _refuse_another(gradient: Tensor) -> None:
    """Raise where the gradient is to be differentiated once more: a hook on the backward."""
    if torch.is_grad_enabled():
        raise InputError(
            "CRDLoss: expected to be differentiated once, found create_graph=True: its gradient is "
            "kept as numbers, whose derivative would be wrong; leave its term out there"
        )


def _ask_again(loss: nn.Module, incompatible_keys: object) -> None:
    """Look anew whether Z is set: a hook on loading."""
    assert isinstance(loss, CRDLoss)
    loss._is_set = False
