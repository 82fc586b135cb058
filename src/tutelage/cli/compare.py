"""``tutelage compare``: the arms of a recipe over paired seeds."""

from tutelage.cli.arguments import RUNS, Changes, Device, Name, Recipe, Runs, changes_of


def compare(
    recipe: Recipe,
    changes: Changes = None,
    runs: Runs = RUNS,
    name: Name = None,
    device: Device = None,
) -> None:
    """Train the student alone, by each method and by controls, over paired seeds."""
    from tutelage.cli.running import compare_and_print
    from tutelage.recipes import load

    loaded = load(recipe, changes_of(changes, device))
    compare_and_print(
        loaded, runs, loaded.name if name is None else name, counted=name is None, command="compare"
    )
