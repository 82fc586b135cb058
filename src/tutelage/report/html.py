"""One self-contained HTML file: no network, no code that comes from data."""

import base64
import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tutelage.errors import ResourceError
from tutelage.report.content import gather
from tutelage.report.readings import Record, sort_records
from tutelage.report.results import build_results
from tutelage.report.safe import visible


def write_report(
    records: Iterable[Record], path: str | Path, results: Mapping[str, Any] | None = None
) -> Path:
    """Write the report of a run and return its path.

    The file appears whole or not at all: it is written beside its place and then renamed.

    Args:
        records: The lines of ``log.jsonl``, in their order.
        path: Where the HTML file goes; its folder must exist.
        results: The summary, if it is at hand; otherwise it is made from the records.

    Raises:
        DataError: If the records contradict each other.
        ResourceError: If the file cannot be written.
    """
    target = Path(path)
    text = render(records, results)
    try:
        _replace(target, text)
    except OSError as error:
        raise ResourceError(
            f"report: expected to write {target}, found: {error.strerror or error}; "
            "free space there or give another folder"
        ) from error
    return target


def render(records: Iterable[Record], results: Mapping[str, Any] | None = None) -> str:
    """Return the report as the text of an HTML document. See :func:`write_report`."""
    records = list(records)
    readings = sort_records(records)
    summary = build_results(records) if results is None else results
    return _template().render(**_page(), **gather(readings, summary))


@lru_cache(maxsize=1)
def _page() -> dict[str, Any]:
    """Return style, scripts and the policy that allows these and nothing else."""
    vendor = files("tutelage.report") / "vendor" / "uplot"
    page = files("tutelage.report") / "page"
    style = (vendor / "uPlot.min.css").read_text("utf-8") + (page / "report.css").read_text("utf-8")
    uplot = (vendor / "uPlot.iife.min.js").read_text("utf-8")
    script = (page / "report.js").read_text("utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash(uplot)} {_hash(script)}; "
        f"style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    # These are files of this package, so they are the only text that is not escaped.
    return {
        "style": Markup(style),
        "uplot": Markup(uplot),
        "script": Markup(script),
        "policy": Markup(policy),
    }


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tutelage.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    # A hyphen is shorter than a minus sign and may break the line before its number.
    environment.filters["minus"] = lambda words: str(words).replace("-", "\u2212")
    environment.globals["anchor"] = _anchor
    return environment.get_template("report.html.jinja")


def _anchor(position: float) -> str:
    """Keep a label at a position in percent inside its row."""
    if position < 15:
        return "start"
    return "end" if position > 85 else "middle"


def _replace(target: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
