"""The distillers of a comparison, made when their turn comes."""

from tutelage.data import Splits
from tutelage.distiller import Distiller
from tutelage.recipes.build import build_distiller, build_splits
from tutelage.recipes.schema import ArmSettings, Recipe
from tutelage.recipes.teacher import ReadyTeacher
from tutelage.recipes.watch import Watch
from tutelage.training import Arm, Ranks


class ArmMaker:
    """Makes the distillers of a comparison, each when its turn comes, and closes the one before."""

    def __init__(
        self, recipe: Recipe, teacher: ReadyTeacher | None, ranks: Ranks, watch: Watch
    ) -> None:
        assert recipe.compare is not None
        self.recipe, self.teacher, self.ranks, self.watch = recipe, teacher, ranks, watch
        self.count = len(recipe.compare.arms) * len(recipe.seeds)
        self.made = 0
        self._open: Distiller | None = None
        self._splits: tuple[int, Splits] | None = None

    def arm(self, settings: ArmSettings) -> Arm:
        """Return one arm as the training room takes it."""

        def make(seed: int) -> tuple[Distiller, Splits]:
            return self._make(settings, seed)

        own_student = settings.student is not None or settings.reuse_head is not None
        training = self.recipe.training_of(settings)
        return Arm(settings.name, settings.role, make, training, own_student)

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
        self._open = build_distiller(
            self.recipe,
            splits,
            self.teacher.model if self.teacher else None,
            seed=seed,
            arm=settings,
            device=self.ranks.device,
        )
        return self._open, splits

    def _data(self, seed: int) -> Splits:
        """Return the data of a seed, which all its arms share."""
        if self._splits is None or self._splits[0] != seed:
            self._splits = seed, build_splits(self.recipe, seed)
        return self._splits[1]
