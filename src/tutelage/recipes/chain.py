"""The distillers of one training in stages: each is built from the one before it."""

import torch
from torch import nn

from tutelage.data import Splits
from tutelage.distiller import Distiller
from tutelage.recipes.build import build_distiller
from tutelage.recipes.schema import ArmSettings, Recipe
from tutelage.recipes.stages import Leg


class Chain:
    """Holds the distiller of the stage that is on, and makes the next one when it is over.

    Args:
        recipe: The recipe.
        splits: Its data.
        teacher_model: The teacher's module; ``None`` where no term needs one.
        seed: Seed of the first weights of every stage.
        arm: The arm; default: the recipe's own terms.
        device: Where it is trained.

    Raises:
        TutelageError: If the first stage cannot be built.
    """

    def __init__(
        self,
        recipe: Recipe,
        splits: Splits,
        teacher_model: nn.Module | None,
        *,
        seed: int,
        arm: ArmSettings | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.recipe, self.splits, self.teacher_model = recipe, splits, teacher_model
        self.seed, self.arm, self.device = seed, arm, device
        self.legs = recipe.legs(arm)
        self._now = 0
        self.distiller = self._built(None)

    @property
    def leg(self) -> Leg:
        """The stage that is on."""
        return self.legs[self._now]

    @property
    def is_last(self) -> bool:
        """Whether no stage follows."""
        return self._now == len(self.legs) - 1

    def advance(self) -> Distiller:
        """Close this stage's distiller and return that of the next one.

        Raises:
            TutelageError: If it cannot be built.
        """
        before = self.distiller, self.leg
        self._now += 1
        self.distiller = self._built(before)
        return self.distiller

    def close(self) -> None:
        """Close the distiller of the stage that is on."""
        self.distiller.close()

    def __enter__(self) -> "Chain":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _built(self, before: tuple[Distiller, Leg] | None) -> Distiller:
        return build_distiller(
            self.recipe,
            self.splits,
            self.teacher_model,
            seed=self.seed,
            arm=self.arm,
            device=self.device,
            before=before,
        )
