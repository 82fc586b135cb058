"""Keep the tables of the zoo: ``python docs/write_zoo.py RUN [RUN ...]``.

RUN is a finished run folder of ``tutelage compare zoo-digits`` or ``zoo-fashion``. Its table goes
between the markers of that recipe in ``docs/zoo.md``, with the command, the date and the versions
that made it; the text around the tables is written by hand. The effect of each loss goes into
``docs/zoo.json``, from which ``docs/write_losses.py`` makes the pages.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tutelage.report.table import COLUMNS, rows
from tutelage.runs import RunFolder

DOCS = Path(__file__).parent
PAGE, EFFECTS = DOCS / "zoo.md", DOCS / "zoo.json"
KEPT = [COLUMNS.index(name) for name in COLUMNS if name not in ("seeds", "params")]


def section(run: Path) -> tuple[str, str]:
    """Return the recipe of a run and its part of the page."""
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    name, seeds = facts["recipe"]["name"], results["arms"][0]["seeds"]
    torch = facts["environment"]["torch"]
    lines = [
        f"`tutelage compare {name}`, {facts['started'][:10]}, torch {torch}, "
        f"{len(seeds)} paired seeds. {results['verdict']['sentence']}",
        "",
        "| " + " | ".join(COLUMNS[i] for i in KEPT) + " |",
        "|" + "---|" * len(KEPT),
        *("| " + " | ".join(row[i] for i in KEPT) + " |" for row in rows(results)),
    ]
    return name, "\n".join(lines)


def effects(run: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each loss of a run with the effect of the arm that tries it."""
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    recipe = json.loads((run / "run.json").read_text(encoding="utf-8"))["recipe"]
    settings = {arm["name"]: arm for arm in recipe["compare"]["arms"]}
    for arm in results["arms"]:
        if not arm["delta"]:
            continue
        for loss in _tried(settings[arm["name"]], recipe):
            yield (
                loss,
                {
                    "arm": arm["name"],
                    "delta": round(arm["delta"]["mean"], 5),
                    "ci95": [round(bound, 5) for bound in arm["delta"]["ci95"]],
                    "seeds": len(arm["seeds"]),
                    "where": recipe["name"],
                },
            )


def _tried(arm: Mapping[str, Any], recipe: Mapping[str, Any]) -> set[str]:
    """Return the losses that an arm stands for: those beside the plain cross-entropy."""
    if arm.get("teacher") == "shuffled" or arm.get("preset"):
        return set()
    terms = arm.get("terms") or recipe["terms"]
    losses = {term["loss"] for term in terms} - {"ce"}
    if len(losses) > 1:  # one that helps another, as a hint beside early exits
        losses -= {"hint", "kd"}
    return losses if arm.get("teacher", "own") == "own" or losses != {"kd"} else set()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    runs = parser.parse_args().runs
    page = PAGE.read_text(encoding="utf-8")
    kept = json.loads(EFFECTS.read_text(encoding="utf-8")) if EFFECTS.is_file() else {}
    for run in runs:
        RunFolder(run)  # names what is wrong with a folder that is none
        name, text = section(run)
        marked = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, found = marked.subn(lambda match, text=text: match[1] + text + "\n" + match[2], page)
        if not found:
            raise SystemExit(f"{PAGE}: expected the markers of {name!r}, found none; add them")
        for loss in kept:
            kept[loss] = [effect for effect in kept[loss] if effect["where"] != name]
        for loss, effect in effects(run):
            kept.setdefault(loss, []).append(effect)
    PAGE.write_text(page, encoding="utf-8")
    kept = {loss: kept[loss] for loss in sorted(kept) if kept[loss]}
    EFFECTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
