"""The distillers of a comparison, made when their turn comes."""

from collections.abc import Callable

from tutelage.data import Splits
from tutelage.distiller import Distiller
from tutelage.recipes.build import build_splits
from tutelage.recipes.chain import Chain
from tutelage.recipes.schema import ArmSettings, Recipe
from tutelage.recipes.teacher import ReadyTeacher
from tutelage.recipes.watch import Watch
from tutelage.training import Arm, Ranks, Stage


class ArmMaker:
    """Makes the distillers of a comparison, each when its turn comes, and closes the one before."""

    def __init__(
        self, recipe: Recipe, teacher: ReadyTeacher | None, ranks: Ranks, watch: Watch
    ) -> None:
        assert recipe.compare is not None
        self.recipe, self.teacher, self.ranks, self.watch = recipe, teacher, ranks, watch
        self.count = len(recipe.compare.arms) * len(recipe.seeds)
        self.made = 0
        self._open: Chain | None = None
        self._splits: tuple[int, Splits] | None = None

    def arm(self, settings: ArmSettings) -> Arm:
        """Return one arm as the training room takes it."""

        def make(seed: int) -> tuple[Distiller, Splits]:
            return self._make(settings, seed)

        own_student = settings.student is not None or settings.reuse_head is not None
        training = self.recipe.training_of(settings)
        stages = stages_of(self.recipe, settings, self._advance)
        return Arm(settings.name, settings.role, make, training, own_student, stages)

    def close(self) -> None:
        """Close the distiller that is still open, if any."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _make(self, settings: ArmSettings, seed: int) -> tuple[Distiller, Splits]:
        self.close()
        self.made += 1
        self.watch.begin(f"{settings.name}, seed {seed}", self.made, self.count)
        splits = self._data(seed)
        self._open = Chain(
            self.recipe,
            splits,
            self.teacher.model if self.teacher else None,
            seed=seed,
            arm=settings,
            device=self.ranks.device,
        )
        return self._open.distiller, splits

    def _advance(self) -> Distiller:
        assert self._open is not None
        return self._open.advance()

    def _data(self, seed: int) -> Splits:
        """Return the data of a seed, which all its arms share."""
        if self._splits is None or self._splits[0] != seed:
            self._splits = seed, build_splits(self.recipe, seed)
        return self._splits[1]


def stages_of(
    recipe: Recipe, arm: ArmSettings | None, advance: Callable[[], Distiller]
) -> tuple[Stage, ...]:
    """Return the earlier stages of an arm, or of the recipe itself, for the training room.

    Args:
        recipe: The recipe.
        arm: The arm; ``None`` for the recipe's own terms.
        advance: Makes the distiller of the next stage.
    """
    return tuple(
        Stage(leg.name, leg.training, lambda before: advance())
        for leg in recipe.legs(arm)
        if leg.name is not None
    )
