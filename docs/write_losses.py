"""Write the pages of the losses: ``python docs/write_losses.py``.

A page is made of the docstrings and the class of the loss, of the ratios that
``benchmarks/dependence.py`` measured, and of the effects in ``docs/zoo.json``, where that is there
(``tutelage.losses.page`` says in which form). ``--check`` writes nothing, and ends with 1 where a
page is not what would be written.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tutelage.losses import index
from tutelage.losses.page import brief, family, needs, page

DOCS = Path(__file__).parent
FOLDER = DOCS / "losses"
ZOO = DOCS / "zoo.json"
HEAD = """# The losses

One page each: formula, needs, options, and how the value depends on sizes, as measured. The same
text in the terminal: `tutelage list losses NAME`. These files are written by
`python docs/write_losses.py`; the text stands in the docstrings.
"""


def pages() -> dict[Path, str]:
    """Return the text of every page, and of the index, by its file."""
    effects = json.loads(ZOO.read_text(encoding="utf-8")) if ZOO.is_file() else {}
    losses = {name: loss for name, loss in index().items() if family(loss) != "elsewhere"}
    made = {FOLDER / f"{name}.md": page(name, effects) for name in losses}
    lines, titled = [HEAD], set()
    for name, loss in sorted(losses.items(), key=lambda item: (family(item[1]), item[0])):
        if family(loss) not in titled:
            titled.add(family(loss))
            lines.append(
                f"\n## {family(loss).capitalize()}\n\n| name | what | needs |\n|---|---|---|"
            )
        lines.append(f"| [`{name}`]({name}.md) | {brief(loss)} | {needs(loss)} |")
    made[FOLDER / "README.md"] = "\n".join(lines) + "\n"
    return made


def stale(made: dict[Path, str]) -> list[Path]:
    """Return the files that lack, differ from ``made``, or are left from a loss that has gone."""
    left = [path for path in FOLDER.glob("*.md") if path not in made]
    return [
        *left,
        *(path for path, text in made.items()
          if not path.is_file() or path.read_text(encoding="utf-8") != text),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    check = parser.parse_args(arguments).check
    made = pages()
    old = stale(made)
    for path in old:
        print(f"{'out of date' if check else 'written'}: {path.relative_to(DOCS.parent)}")
        if not check:
            path.write_text(made[path], encoding="utf-8") if path in made else path.unlink()
    return int(check and bool(old))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    sys.exit(main())
