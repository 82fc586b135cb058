import argparse
import contextlib
import pickle
import random

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tutelage.errors import DataError, InputError
from tutelage.models import files, read_weights

pytestmark = pytest.mark.filterwarnings("ignore:torch .* has a known fault")


@pytest.fixture
def weights():
    return {name: t.detach() for name, t in nn.Linear(300, 7).state_dict().items()}


def same(found, wanted):
    return set(found) == set(wanted) and all(torch.equal(found[n], wanted[n]) for n in wanted)


class Payload:
    """Writes a file when it is unpickled, as a hostile checkpoint would do something worse."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ""])
def test_safetensors_are_read_whatever_their_suffix(tmp_path, weights, suffix):
    path = tmp_path / f"net{suffix}"
    save_file(weights, path)
    assert same(read_weights(path), weights)


@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch_save_are_read(tmp_path, weights, zipped):
    path = tmp_path / "net.pth"
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    assert same(read_weights(str(path)), weights)


@pytest.mark.parametrize("nest", ["state_dict", "model", "student", "model_state_dict"])
def test_nested_checkpoints_are_opened(tmp_path, weights, nest):
    torch.save({"epoch": 3, nest: {"state_dict": weights}}, tmp_path / "net.pt")
    assert same(read_weights(tmp_path / "net.pt"), weights)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_removed(tmp_path, weights, prefix):
    torch.save({prefix + name: t for name, t in weights.items()}, tmp_path / "net.pt")
    assert same(read_weights(tmp_path / "net.pt"), weights)


def test_a_prefix_that_only_some_names_have_stays(tmp_path, weights):
    mixed = {"module.weight": weights["weight"], "bias": weights["bias"]}
    torch.save(mixed, tmp_path / "net.pt")
    assert same(read_weights(tmp_path / "net.pt"), mixed)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(tmp_path, weights, zipped):
    canary, path = tmp_path / "canary", tmp_path / "evil.pt"
    torch.save(weights | {"x": Payload(canary)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"evil\.pt: refused.*convert it to safetensors") as caught:
        read_weights(path)
    assert caught.value.exit_code == 3
    assert not canary.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_that_wants_to_run_code_is_refused_and_not_run(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "evil.bin"
    path.write_bytes(pickle.dumps({"weight": Payload(canary)}))
    with pytest.raises(DataError):
        read_weights(path)
    assert not canary.exists()


def test_the_guard_is_never_lowered(tmp_path, monkeypatch):
    calls = []
    load = torch.load

    def spy(*args, **options):
        calls.append(options.get("weights_only"))
        return load(*args, **options)

    monkeypatch.setattr(files.torch, "load", spy)
    torch.save({"x": Payload(tmp_path / "canary")}, tmp_path / "evil.pt")
    with pytest.raises(DataError):
        read_weights(tmp_path / "evil.pt")
    assert calls == [True]


def test_a_whole_pickled_model_is_refused_with_what_to_do(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(DataError, match="convert it to safetensors"):
        read_weights(tmp_path / "model.pt")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("keep", [0, 5, 100, -1, 0.5])
def test_a_truncated_file_is_named(tmp_path, weights, kind, keep):
    path = tmp_path / ("net.safetensors" if kind == "safetensors" else "net.pt")
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if keep == 0.5 else keep])
    with pytest.raises(DataError, match=f"{path.name}.*damaged or truncated") as caught:
        read_weights(path)
    assert caught.value.exit_code == 3


def test_a_text_file_is_no_weight_file(tmp_path):
    (tmp_path / "net.pt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match=r"net\.pt"):
        read_weights(tmp_path / "net.pt")


@pytest.mark.parametrize("content", [{"epoch": 3}, {}, [torch.zeros(1)], torch.zeros(2)])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(DataError, match="expected named tensors"):
        read_weights(tmp_path / "net.pt")


def test_a_missing_file_and_a_folder_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="found nothing") as caught:
        read_weights(tmp_path / "nothing.pt")
    assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="found a folder"):
        read_weights(tmp_path)


def test_an_old_torch_warns_before_it_reads_a_pickle(tmp_path, weights, monkeypatch):
    monkeypatch.setattr(files.torch, "__version__", "2.9.1+cpu")
    torch.save(weights, tmp_path / "net.pt")
    with pytest.warns(UserWarning, match="CVE-2026-24747"):
        read_weights(tmp_path / "net.pt")


@pytest.mark.parametrize("seed", range(40))
def test_a_legacy_file_with_flipped_bits_is_named_or_read(tmp_path, weights, seed):
    path = tmp_path / "net.pt"
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    content, draw = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(3):
        content[draw.randrange(600)] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        read_weights(path)


@pytest.mark.parametrize("keep", range(150, 620, 15))
def test_a_legacy_file_that_is_cut_anywhere_is_named(tmp_path, weights, keep):
    path = tmp_path / "net.pt"
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"net\.pt") as caught:
        read_weights(path)
    assert caught.value.exit_code == 3


def test_an_object_that_is_no_tensor_is_named(tmp_path, weights):
    torch.save({"options": argparse.Namespace(), "model": weights}, tmp_path / "net.pt")
    with pytest.raises(DataError, match=r"refused.*the object argparse\.Namespace beside tensors"):
        read_weights(tmp_path / "net.pt")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_torchscript_program_is_told_from_a_damaged_file(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "net.pt")
    with pytest.raises(DataError, match=r"found a TorchScript program.*state_dict\(\)"):
        read_weights(tmp_path / "net.pt")
