"""The golden cases through the runner, and proof that the runner can fail."""

import copy
import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tutelage.losses import KDLoss

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
# What the losses built so far compute: these may not fall back to "unsupported".
COMPUTED = {
    "ab": {"author", "fasterai", "repdistiller"},
    "at": {"author", "fasterai", "paper", "repdistiller"},
    "blog_hint": {"author"},
    "cc": {"paper-bilinear", "paper-rbf", "paper-squared"},
    "crd": {"author"},
    "cwd": {"author", "mmrazor"},
    "dark_rank": {"author"},
    "deit_hard": {"author"},
    "deit_soft": {"author"},
    "distilbert": {"author-ce", "author-mse"},
    "factor": {"repdistiller"},
    "feature_task": {"timm"},
    "fitnet": {"mdistiller", "regressor1x1"},
    "fitnet_mse": {"fasterai", "repdistiller"},
    "fsp": {"paper", "repdistiller", "torchdistill"},
    "ickd": {"author", "torchdistill"},
    "itrd_corr": {"author"},
    "itrd_mutual": {"author"},
    "kd": {"cls_kd-ce", "fasterai", "mdistiller", "numel-mean", "repdistiller", "textbrewer-ce"},
    "kd_plus_ce": {"reference"},
    "kd_task": {"timm"},
    "label_smoothing": {"author"},
    "listwise_kl": {"sentence-transformers"},
    "logit_mse": {"fasterai"},
    "mutual": {"fasterai"},
    "nst": {"repdistiller"},
    "ofd": {"author", "mdistiller"},
    "pkt": {"author"},
    "rkd": {"mmrazor-l2", "repdistiller"},
    "rkd_angle": {"author"},
    "rkd_distance": {"author"},
    "seq_forward_kl": {"distillkit", "distillm", "dskd"},
    "sp": {"fasterai", "repdistiller"},
    "tensorlogic_attention": {"rust"},
    "tensorlogic_feature": {"rust"},
    "tfkd_kd": {"author"},
    "tinybert_soft_ce": {"author"},
}


@pytest.fixture(scope="module")
def runner():
    """The script, imported as Python runs it: with its own folder on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        spec = importlib.util.spec_from_file_location("conformance_run", HERE / "run.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(__import__("sys").modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def golden(runner):
    return runner.load(GOLDEN)


@pytest.fixture
def fitnet(golden):
    """A case with learned parts."""
    return next(copy.deepcopy(c) for c in golden[0] if c["variant"] == "regressor1x1")


def test_no_golden_case_fails_and_every_one_has_an_outcome(runner, golden):
    cases, tensors = golden
    results = [runner.check(case, tensors) for case in cases]
    assert [r.line() for r in results if r.status == "fail"] == []
    assert all(r.reason for r in results if r.status == "unsupported")
    passed: dict[str, set[str]] = {}
    for case, result in zip(cases, results, strict=True):
        if result.status == "pass":
            passed.setdefault(case["method"], set()).add(case["variant"])
    missing = {m: v - passed.get(m, set()) for m, v in COMPUTED.items() if v - passed.get(m, set())}
    assert missing == {}


# The systems that tutelage grew from: how many cases of theirs there are, all of them computed.
GREW_FROM = {
    "timm": ({"kd_task/timm", "feature_task/timm"}, 6),
    "fasterai": (
        {
            f"{method}/fasterai"
            for method in ("kd", "logit_mse", "mutual", "dkd", "fitnet_mse", "at", "sp", "ab")
        },
        26,
    ),
    "deit": ({"deit_soft/author", "deit_hard/author"}, 8),
    "hint": ({"blog_hint/author"}, 2),
    "tensorlogic": ({"tensorlogic_feature/rust", "tensorlogic_attention/rust"}, 6),
}


@pytest.mark.parametrize("system", GREW_FROM)
def test_every_case_of_the_systems_it_grew_from_passes(runner, golden, system):
    methods, count = GREW_FROM[system]
    cases = [case for case in golden[0] if f"{case['method']}/{case['variant']}" in methods]
    assert len(cases) == count
    results = [runner.check(case, golden[1]) for case in cases]
    assert [result.line() for result in results if result.status != "pass"] == []


def test_a_mixture_without_its_mistaken_hard_loss_is_ours_but_for_an_epsilon(golden):
    # tensorlogic's 1e-8 beside the student's probability; at alpha = 1 its hard loss is absent.
    cases, tensors = golden
    found = [
        (case, KDLoss(temperature=case["hyperparameters"]["temperature"]))
        for case in cases
        if case["method"] == "tensorlogic_kd" and case["hyperparameters"]["alpha"] == 1
    ]
    assert len(found) == 2
    for case, loss in found:
        student, teacher = (tensors[case["inputs"][k]].double() for k in ("student", "teacher"))
        assert loss(student, teacher).item() == pytest.approx(case["value"], rel=1e-5)


def test_a_value_that_is_off_by_a_billionth_fails(runner, golden, fitnet):
    fitnet["value"] *= 1 + 2e-9
    result = runner.check(fitnet, golden[1])
    assert result.status == "fail"
    assert "expected" in result.reason


@pytest.mark.parametrize("role", ["student", "weight"])
def test_a_gradient_that_is_off_fails_and_is_named(runner, golden, fitnet, role):
    tensors = dict(golden[1])
    key = fitnet["grads"][role]
    tensors[key] = tensors[key] * (1 + 2e-7)
    result = runner.check(fitnet, tensors)
    assert result.status == "fail"
    assert result.reason == f"gradient of {role}"


def test_an_input_that_has_no_gradient_of_ours_fails_where_one_is_expected(runner, golden, fitnet):
    fitnet["grads"]["teacher"] = "expected"
    tensors = {**golden[1], "expected": torch.ones(6, 14, 6, 6, dtype=torch.float64)}
    assert runner.check(fitnet, tensors).reason == "gradient of teacher"


def test_the_wrong_temperature_fails(runner, golden):
    case = next(copy.deepcopy(c) for c in golden[0] if c["id"] == "kd/repdistiller/b16c20-t4")
    case["hyperparameters"]["temperature"] = 4.001
    assert runner.check(case, golden[1]).status == "fail"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"method": "never_heard_of"}, "no rule for it"),
        ({"variant": "never_heard_of"}, "no rule for it"),
        ({"method": "tensorlogic_kd", "variant": "rust"}, "a mistake, not offered"),
    ],
)
def test_what_has_no_rule_is_unsupported_with_the_reason(runner, golden, fitnet, change, reason):
    result = runner.check({**fitnet, **change}, golden[1])
    assert result.status == "unsupported"
    assert reason in result.reason


def test_a_broken_case_fails_and_does_not_stop_the_run(runner, golden, fitnet):
    fitnet["inputs"]["student"] = "no/such/tensor"
    result = runner.check(fitnet, golden[1])
    assert result.status == "fail"
    assert "no/such/tensor" in result.reason


def test_layers_as_lists_are_summed(runner, golden):
    cases, tensors = golden
    one, two = (c for c in cases if c["method"] == "fitnet_mse" and c["variant"] == "fasterai")
    both = {
        "id": "two layers",
        "method": "fitnet_mse",
        "variant": "fasterai",
        "hyperparameters": {},
        "value": one["value"] + two["value"],
        **{
            part: {role: [one[part][role], two[part][role]] for role in one[part]}
            for part in ("inputs", "grads")
        },
    }
    assert runner.check(both, tensors).status == "pass"


def write(folder, case, tensors):
    keys = {*case["inputs"].values(), *case["grads"].values()}
    save_file({key: tensors[key] for key in keys}, folder / "tensors.safetensors")
    (folder / "cases.json").write_text(json.dumps({"cases": [case]}))


def test_the_command_ends_with_0_and_writes_its_results(runner, golden, fitnet, tmp_path, capsys):
    write(tmp_path, fitnet, golden[1])
    assert runner.main(["--cases", str(tmp_path), "--json", str(tmp_path / "out.json")]) == 0
    assert "1 cases: 1 pass, 0 fail, 0 unsupported" in capsys.readouterr().out
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["pass"] == 1
    assert report["results"][0]["gradients"].keys() == {"student", "weight"}


def test_the_command_ends_with_1_where_a_case_fails(runner, golden, fitnet, tmp_path, capsys):
    fitnet["value"] += 1e-6
    write(tmp_path, fitnet, golden[1])
    assert runner.main(["--cases", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith(f"fail        {fitnet['id']}")


def test_the_command_ends_with_2_where_there_are_no_cases(runner, tmp_path, capsys):
    assert runner.main(["--cases", str(tmp_path)]) == 2
    assert "expected cases.json and tensors.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["a case", None, 3, ["kd"]])
def test_what_is_no_case_fails_and_does_not_stop_the_run(runner, golden, case):
    result = runner.check(case, golden[1])
    assert result.status == "fail"
    assert "expected a case to be an object" in result.reason


def test_the_command_ends_with_2_where_cases_are_no_list(runner, tmp_path, capsys):
    save_file({"x": torch.zeros(1)}, tmp_path / "tensors.safetensors")
    (tmp_path / "cases.json").write_text('{"cases": {"kd": 1}}')
    assert runner.main(["--cases", str(tmp_path)]) == 2
    assert "expected cases to be a list" in capsys.readouterr().err


def test_a_hyper_parameter_that_no_rule_reads_is_unsupported_and_named(runner, golden, fitnet):
    fitnet["hyperparameters"]["margin"] = 0.5
    result = runner.check(fitnet, golden[1])
    assert result.status == "unsupported"
    assert "'margin'" in result.reason


@pytest.mark.parametrize("smoothing", [0.1, 0.75, 0.9, 1.0])
def test_labels_may_be_smoothed_past_uniform(runner, smoothing):
    student = torch.randn(6, 4, dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 3, 0, 1])
    log_q = student.log_softmax(-1)
    right = log_q.gather(-1, target[:, None])[:, 0]
    wrong = (log_q.sum(-1) - right) / 3
    case = {
        "id": "smoothing",
        "method": "label_smoothing",
        "variant": "author",
        "hyperparameters": {"smoothing": smoothing},
        "value": -((1 - smoothing) * right + smoothing * wrong).mean().item(),
        "inputs": {"student": "student", "target": "target"},
        "grads": {},
    }
    assert runner.check(case, {"student": student, "target": target}).status == "pass"


def check(runner, method, variant, hyper, value, inputs):
    """Run one case that is made here."""
    case = {
        "id": "made here",
        "method": method,
        "variant": variant,
        "hyperparameters": hyper,
        "value": float(value),
        "inputs": {role: role for role in inputs},
        "grads": {},
    }
    return runner.check(case, inputs)


def test_ten_and_more_negatives_stand_in_the_order_of_their_numbers(runner):
    roles = ["query", "positive", "negative", *(f"negative{i}" for i in range(2, 12))]
    inputs = dict(zip(roles, torch.randn(len(roles), 3, 4, dtype=torch.float64), strict=True))
    query, *documents = (inputs[role] / inputs[role].norm(dim=1, keepdim=True) for role in roles)
    s = torch.stack([(query * document).sum(1) for document in documents], 1)
    labels = torch.randn(s.shape, dtype=torch.float64)
    missing = (s[:, :1] - s[:, 1:]) - (labels[:, :1] - labels[:, 1:])
    hyper = {"similarity": "cos", "labels": "teacher scores"}
    args = "margin_mse", "sentence-transformers", hyper, missing.square().mean()
    assert check(runner, *args, {**inputs, "labels": labels}).status == "pass"


def test_selectivity_of_maps_of_unequal_size_pools_the_larger(runner):
    student = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    teacher = student.repeat_interleave(2, 2).repeat_interleave(2, 3)
    hyper = {"kernel": "polynomial", "degree": 2, "c": 0}
    inputs = {"student": student, "teacher": teacher}
    assert check(runner, "nst", "repdistiller", hyper, 0.0, inputs).status == "pass"


def test_a_number_that_the_class_refuses_is_unsupported_with_the_reason(runner):
    logits = torch.randn(1, 2, 3, dtype=torch.float64)
    inputs = {"student": logits, "teacher": logits, "labels": torch.zeros(1, 2, dtype=torch.int64)}
    result = check(runner, "seq_jsd", "distillm", {"lam": 0.0}, 0.0, inputs)
    assert result.status == "unsupported"
    assert "JSDLoss.beta" in result.reason
