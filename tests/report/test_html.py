import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from tutelage.errors import ResourceError
from tutelage.report import render, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
HOSTILE = [
    "<script>document.title='taken'</script>",
    "</style></script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}",
    "\u202egnp.exe\u202c",
    "שלום",
    "long" * 2560,
    "\ud800 \x00 \u2028",
]


class Page(HTMLParser):
    """Tags, attributes and visible text of a document, as a browser would split it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.styles = [], [], [], []
        self._inside = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._inside = (tag, dict(attrs))

    def handle_data(self, data):
        tag, attrs = self._inside or (None, {})
        if tag == "script" and attrs.get("type") != "application/json":
            self.scripts.append(data)
        if tag == "style":
            self.styles.append(data)

    def handle_endtag(self, tag):
        self._inside = None


def hostile_log(make_run, make_teacher, make_arm, name):
    return [
        make_run(
            name=name,
            recipe={"name": name, name: [name]},
            environment={"folder": f"/data/{name}", name: name},
            data={"num_classes": 2, "class_names": [name, "fine"]},
        ),
        make_teacher(name=name, source=name),
        {"kind": "step", "arm": name, "seed": 0, "step": 1, "loss": 1.0, "parts": {name: 1.0}},
        {"kind": "step", "arm": name, "seed": 0, "step": 2, "loss": 0.5, "parts": {name: 0.5}},
        make_arm("alone", 0, 0.8, "baseline"),
        make_arm("alone", 1, 0.8, "baseline"),
        make_arm(name, 0, 0.9),
        make_arm(name, 1, 0.92),
        make_arm("broken", 0, 0.1, error=name),
        {"kind": "end", "status": "failed", "error": name},
    ]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
def test_hostile_names_stay_text(name, make_run, make_teacher, make_arm):
    plain = Page(render(hostile_log(make_run, make_teacher, make_arm, "kd")))
    text = render(hostile_log(make_run, make_teacher, make_arm, name))
    page = Page(text)
    assert page.tags == plain.tags
    assert [(tag, key) for tag, key, _ in page.attributes] == [
        (tag, key) for tag, key, _ in plain.attributes
    ]
    assert page.scripts == plain.scripts
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00]", text)
    assert "49" not in re.findall(r"<h1[^>]*>(.*?)</h1>", text)[0]
    text.encode("utf-8")


def test_a_name_of_ten_kilobytes_is_clipped_where_it_is_shown(make_run, make_teacher, make_arm):
    short = render(hostile_log(make_run, make_teacher, make_arm, "kd"))
    long = render(hostile_log(make_run, make_teacher, make_arm, "long" * 2560))
    # The recipe shows it in full, wherever it stands there; nothing else does.
    assert len(long) - len(short) < 60_000


def test_nothing_is_fetched_and_only_our_scripts_may_run(make_comparison):
    page = Page(render(make_comparison(seeds=2, steps=20)))
    for _, name, value in page.attributes:
        if name in ("src", "href", "action", "srcset", "poster", "data", "xlink:href"):
            assert value.startswith("#")
        assert not name.startswith("on")
        assert name != "style"
    assert not {"link", "iframe", "object", "embed", "img", "base", "form"} & set(page.tags)
    policy = next(
        value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value
    )
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for source in page.scripts + page.styles:
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert len(page.scripts) == 2


def test_style_and_scripts_name_no_other_host(make_single_run):
    page = Page(render(make_single_run(steps=5)))
    assert re.findall(r"url\(|@import", "".join(page.styles)) == []
    assert re.findall(r"fetch\(|XMLHttpRequest|WebSocket|import\(", "".join(page.scripts)) == []


def test_the_verdict_stands_first_and_every_section_is_there(make_comparison):
    text = render(make_comparison(seeds=3, steps=20))
    headings = re.findall(r"<h([12])[^>]*>(.*?)</h", text)
    assert headings[0][0] == "1"
    assert headings[0][1].startswith("Distillation helped: kd beats the student alone by +")
    assert [words for level, words in headings if level == "2"] == [
        "Results",
        "Against the student alone",
        "Test accuracy per seed",
        "Agreement with the teacher",
        "Calibration error (ECE)",
        "Learning curves",
        "The teacher",
        "The data",
        "Recipe",
        "Environment",
        "How to read this",
    ]
    assert "temperature: 4.0" in text
    assert "35.3 times the student" in text


def test_a_single_run_states_that_the_gain_is_unknown(make_single_run):
    text = render(make_single_run(steps=5))
    assert "without the same student trained alone the gain is unknown" in text
    assert "Against the student alone" not in text


def test_a_long_log_makes_a_small_file(make_comparison, tmp_path):
    records = make_comparison(seeds=10, steps=1500)
    path = write_report(records, tmp_path / "report.html")
    assert path.stat().st_size < 400_000


def test_a_log_of_a_run_that_died_at_once_has_a_report():
    text = render([{"kind": "end", "status": "failed", "error": "no such folder: images"}])
    assert "There is no result: no arm finished." in text
    assert "The run failed: no such folder: images" in text
    assert "no arm finished" in render([])


def test_the_curves_in_the_page_are_json_a_reader_can_parse(make_single_run):
    text = render(make_single_run(steps=5))
    raw = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text)[0]
    data = json.loads(raw)
    assert [arm["name"] for arm in data["arms"]] == ["kd"]
    assert data["grids"][data["panels"][1]["curves"][0]["g"]] == [1, 2, 3, 4, 5]


def test_a_folder_that_is_missing_is_a_resource_error_with_the_path(make_single_run, tmp_path):
    target = tmp_path / "nowhere" / "report.html"
    with pytest.raises(ResourceError, match=r"expected to write .*nowhere.*free space") as info:
        write_report(make_single_run(steps=5), target)
    assert info.value.exit_code == 5


def test_a_failed_write_leaves_the_old_report_and_no_scraps(make_single_run, tmp_path, monkeypatch):
    path = write_report(make_single_run(steps=5), tmp_path / "report.html")
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(ResourceError, match="disk full"):
        write_report(make_single_run(steps=9), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_the_room_needs_no_torch():
    code = "import sys, tutelage.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def browse(path, folder, *options):
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--virtual-time-budget=5000",
        "--enable-logging=stderr",
        f"--user-data-dir={folder}",
        *options,
        path.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the path")
def test_a_browser_draws_all_charts_and_runs_no_hostile_script(
    make_comparison, make_arm, make_run, make_teacher, tmp_path
):
    records = make_comparison(seeds=2, steps=20)
    records += hostile_log(make_run, make_teacher, make_arm, HOSTILE[1])[2:]
    records += [make_arm(HOSTILE[0], seed, 0.9) for seed in range(2)]
    path = write_report(records, tmp_path / "report.html")
    done = browse(path, tmp_path / "profile", "--dump-dom")
    assert re.search(r"<html[^>]* data-ready", done.stdout)
    assert done.stdout.count("<canvas") == 6
    assert "CONSOLE" not in done.stderr
    assert "<title>taken" not in done.stdout


def test_thinning_is_stated_only_where_curves_were_thinned(make_comparison, make_single_run):
    teacher = [
        {"kind": "step", "arm": "teacher", "seed": 0, "step": i, "loss": 1.0, "parts": {}}
        for i in range(900)
    ]
    assert "Curves are thinned" not in render([*teacher, *make_single_run(steps=30)])
    assert "Curves are thinned to at most 500 points" in render(make_single_run(steps=900))
    assert "Curves are thinned to at most" in render(make_comparison(seeds=10, steps=700))
