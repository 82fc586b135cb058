import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.errors import DataError, InputError, ResourceError
from tutelage.runs import RunFolder, check_name


def test_a_run_folder_keeps_what_is_logged(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs", "first")
    run.log({"kind": "step", "loss": 0.5, "name": "naïve </script>"})
    run.log({"kind": "end", "loss": float("nan")})
    assert run.read_log() == [
        {"kind": "step", "loss": 0.5, "name": "naïve </script>"},
        {"kind": "end", "loss": None},
    ]
    assert run.checkpoints.is_dir()


def test_numbers_of_torch_and_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    import numpy
    import torch

    run = RunFolder.create(tmp_path, "n")
    run.log({"a": torch.tensor(2.5), "b": numpy.float32(0.5), "c": (1, 2), "d": tmp_path})
    assert run.read_log() == [{"a": 2.5, "b": 0.5, "c": [1, 2], "d": str(tmp_path)}]


def test_names_that_are_no_text_are_spelled_out(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "n")
    odd = os.fsdecode(b"photos \xff")
    run.log({"classes": ["cat", odd], odd: Path(odd)})
    spelled = "photos \\udcff"
    assert run.read_log() == [{"classes": ["cat", spelled], spelled: spelled}]
    assert json.loads(run.write_json("run.json", {"a": odd}).read_text()) == {"a": spelled}
    assert run.write_text("report.html", odd).read_text() == spelled


def test_a_taken_name_fails_or_counts_on(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "x")
    with pytest.raises(InputError, match="exists already"):
        RunFolder.create(tmp_path, "x")
    assert RunFolder.create(tmp_path, "x", counted=True).path.name == "x-2"
    assert RunFolder.create(tmp_path, "x", counted=True).path.name == "x-3"


@pytest.mark.parametrize(
    "name",
    ["..", "../x", "a/b", "/abs", "", ".hidden", "a\0b", "NUL", "com1.txt", "a..b", "x" * 101],
)
def test_an_unsafe_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run name") as caught:
        RunFolder.create(tmp_path / "root", name)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "root").exists()


def test_a_plain_name_is_accepted() -> None:
    assert check_name("Digits_v1.2-b") == "Digits_v1.2-b"


def test_a_place_that_cannot_hold_a_folder_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError, match="--runs") as caught:
        RunFolder.create(tmp_path / "file", "run")
    assert caught.value.exit_code == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_place_is_a_resource_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="ermission"):
        RunFolder.create(tmp_path, "run")


def test_a_full_disk_is_found_when_the_folder_is_made(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from tutelage.runs import RunFolder\n"
        "from tutelage.errors import ResourceError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    RunFolder.create(sys.argv[1], 'run')\n"
        "except ResourceError as error:\n    print(error); sys.exit(error.exit_code)\n"
    )
    assert hasattr(resource, "RLIMIT_FSIZE")
    result = subprocess.run(
        [sys.executable, "-B", "-c", script, str(tmp_path)], capture_output=True, text=True
    )
    assert result.returncode == 5, result.stderr
    assert "cannot write" in result.stdout


def test_a_line_cut_off_by_a_crash_is_left_out_and_damage_is_named(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x")
    run.log({"a": 1})
    log = run.path / "log.jsonl"
    log.write_text(log.read_text() + '{"a": 2')
    assert run.read_log() == [{"a": 1}]
    log.write_text('{"a": 1\n{"a": 2}\n')
    with pytest.raises(DataError, match=r"log\.jsonl:1") as caught:
        run.read_log()
    assert caught.value.exit_code == 3


def test_json_is_written_whole(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x")
    path = run.write_json("results.json", {"mean": 0.5})
    assert json.loads(path.read_text()) == {"mean": 0.5}
    assert [p.name for p in run.path.iterdir() if p.name.startswith(".")] == []


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        RunFolder(tmp_path / "missing")


def test_a_log_of_other_bytes_is_damaged(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x")
    (run.path / "log.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        run.read_log()
