import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]


@pytest.mark.slow
def test_the_demo_shows_a_gain_that_no_control_explains(tutelage: Call, tmp_path: Path) -> None:
    outcome = tutelage("demo", "--runs", tmp_path)
    assert outcome.code == 0, outcome.err
    results = json.loads((tmp_path / "demo" / "results.json").read_text(encoding="utf-8"))
    arms = {arm["name"]: arm for arm in results["arms"]}
    delta = arms["kd"]["delta"]
    assert delta["n"] >= 10
    assert delta["mean"] >= 0.02
    assert delta["ci95"][0] > 0
    for control in arms["kd"]["versus_controls"]:
        assert control["delta"]["ci95"][0] > 0
    assert results["verdict"]["kind"] == "helped"
