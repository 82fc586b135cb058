"""Stages: other terms for the same student before those that it is judged by."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tutelage.errors import RecipeError
from tutelage.recipes import Recipe, distill, from_text, run_comparison
from tutelage.recipes.arms import stages_of
from tutelage.recipes.build import build_splits, build_student, build_teacher_model
from tutelage.recipes.chain import Chain
from tutelage.recipes.check import check
from tutelage.recipes.watch import Watch
from tutelage.runs import RunFolder
from tutelage.training import fit_in_stages

TWO = """
name: two
threads: 1
data: {name: digits, labelled: 64}
student: {model: small_cnn, widths: [4, 8]}
teacher: {model: small_cnn, widths: [8, 8], train: {steps: 4}}
stages:
  - name: hint
    terms: [{loss: hint, at: stage1, via: auto}]
    training: {steps: 5, weight_decay: 0.3, optimizer: sgd, lr: 0.01, momentum: 0.9}
terms: [{loss: ce}, {loss: hint, at: stage1, via: auto}]
training: {epochs: 2, batch_size: 32, checkpoint_every: 1, log_every: 1, device: cpu}
compare:
  seeds: 1
  arms:
    - {name: alone, role: baseline, terms: [{loss: ce}]}
    - {name: two stages}
"""

FT = TWO.replace(
    "name: hint\n    terms: [{loss: hint, at: stage1, via: auto}]",
    ("name: paraphraser\n    terms: [{loss: ft, learn: true, at: stage1}]"),
).replace("{loss: hint, at: stage1, via: auto}]", "{loss: ft, at: stage1, via: paper}]")


def recipe(text: str = TWO, *changes: str) -> Recipe:
    return from_text(text, "two.yaml", changes)


def chain_of(one: Recipe) -> Chain:
    splits = build_splits(one, 0)
    return Chain(one, splits, build_teacher_model(one, splits.spec), seed=0)


def train_first(one: Recipe, chain: Chain) -> None:
    """Train the first stage and stop where the next would begin."""
    stages = stages_of(one, None, lambda: (_ for _ in ()).throw(StopIteration))
    with pytest.raises((StopIteration, RuntimeError)):
        fit_in_stages(chain.distiller, stages, chain.splits, one.training, seed=0)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def test_stage_one_moves_only_the_guided_part_and_leaves_the_rest_bit_for_bit() -> None:
    one = recipe()
    with chain_of(one) as chain:
        before = build_student(one, chain.splits.spec, 0).state_dict()
        train_first(one, chain)
        after = chain.distiller.student.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("stage1.") for name in moved)


def test_the_main_stage_goes_on_from_the_weights_of_stage_one_and_moves_everything() -> None:
    one = recipe()
    with chain_of(one) as chain:
        train_first(one, chain)
        before = {name: t.clone() for name, t in chain.distiller.student.state_dict().items()}
        chain.advance()
        for name, tensor in chain.distiller.student.state_dict().items():
            assert torch.equal(tensor, before[name])
        fit_in_stages(chain.distiller, (), chain.splits, one.training, seed=0)
        after = chain.distiller.student.state_dict()
    assert not torch.equal(after["head.weight"], before["head.weight"])
    assert not torch.equal(after["stage1.conv1.weight"], before["stage1.conv1.weight"])


def test_the_projector_of_a_term_goes_on_and_one_of_another_name_is_new() -> None:
    one = recipe()
    with chain_of(one) as chain:
        train_first(one, chain)
        learnt = dict(chain.distiller.objective.named_parameters())
        chain.advance()
        now = dict(chain.distiller.objective.named_parameters())
    [weight] = [name for name in learnt if name.endswith("weight") and learnt[name].ndim > 1]
    [mine] = [name for name in now if name.endswith("weight") and now[name].ndim > 1]
    assert torch.equal(learnt[weight], now[mine])
    other = recipe(TWO, "terms.1.name=another")
    with chain_of(other) as chain:
        train_first(other, chain)
        chain.advance()
        new = dict(chain.distiller.objective.named_parameters())
    assert not torch.equal(learnt[weight], new[mine])


def test_the_paraphraser_is_learnt_in_stage_one_and_fixed_afterwards(tmp_path: Path) -> None:
    one = recipe(FT)
    with chain_of(one) as chain:
        fresh = {n: t.clone() for n, t in chain.distiller.objective.state_dict().items()}
        student = {n: t.clone() for n, t in chain.distiller.student.state_dict().items()}
        train_first(one, chain)
        learnt = {n: t.clone() for n, t in chain.distiller.objective.state_dict().items()}
        assert all(not torch.equal(fresh[name], learnt[name]) for name in learnt)
        for name, tensor in chain.distiller.student.state_dict().items():
            assert torch.equal(tensor, student[name]), name
        chain.advance()
        fit_in_stages(chain.distiller, (), chain.splits, one.training, seed=0)
        term = next(term for term in chain.distiller.objective if term.name == "ft")
        kept = term.loss.paraphraser.state_dict()
    assert kept
    for name, tensor in kept.items():
        assert torch.equal(tensor, learnt[f"terms.0.loss.paraphraser.{name}"])


def test_ft_without_a_stage_before_it_is_refused() -> None:
    one = recipe(FT, "stages=[]")
    with pytest.raises(Exception, match=r"expected a trained paraphraser.*earlier stage"):
        chain_of(one)


def test_distill_logs_the_stage_under_its_own_name_and_counts_its_steps(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    results = distill(recipe(), folder)
    log = records(folder.path)
    steps = [r["arm"] for r in log if r["kind"] == "step"]
    assert steps.count("two/hint") == 5
    assert steps.count("two") == 4
    [arm] = [r for r in log if r["kind"] == "arm"]
    assert arm["steps"] == 9
    assert results["failed"] == []
    assert any("two/hint took 5 steps" in note for note in results["notes"])
    assert "two/hint" in (folder.path / "report.html").read_text("utf-8")


def test_a_baseline_with_terms_of_its_own_is_not_led_through_the_recipes_stages() -> None:
    one = recipe()
    assert one.compare is not None
    alone, staged = one.compare.arms
    assert [leg.name for leg in one.legs(alone)] == [None]
    assert [leg.name for leg in one.legs(staged)] == ["hint", None]


def test_compare_trains_the_stages_of_each_arm(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    results = run_comparison(recipe(), folder)
    assert {arm["name"] for arm in results["arms"]} == {"alone", "two stages"}
    assert results["failed"] == []
    names = {r["arm"] for r in records(folder.path) if r["kind"] == "step"}
    assert names == {"alone", "two stages/hint", "two stages", "teacher"}


class Stops(Watch):
    """Ends the run after some messages of the student's training."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.counts = False

    def begin(self, name: str, number: int, count: int) -> None:
        self.counts = name == "student"

    def progress(self, epoch: int, step: int, total: int, message: str) -> None:
        self.left -= self.counts
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [5, 12], ids=["in the stage", "in the main stage"])
def test_a_run_in_stages_resumes_to_the_same_student_bit_for_bit(
    tmp_path: Path, after: int
) -> None:
    one = recipe(TWO, "stages.0.training.steps=6", "training.epochs=3")
    whole = RunFolder.create(tmp_path, "whole")
    distill(one, whole)
    broken = RunFolder.create(tmp_path, "broken")
    with pytest.raises(KeyboardInterrupt):
        distill(one, broken, watch=Stops(after))
    distill(one, RunFolder(broken.path), resume=True)
    mine = load_file(broken.path / "student.safetensors")
    for name, tensor in load_file(whole.path / "student.safetensors").items():
        assert torch.equal(tensor, mine[name])


def test_check_says_how_much_of_the_student_a_stage_moves(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(TWO, encoding="utf-8")
    lines = dict(check(str(file)))
    assert lines["stage hint"].startswith("5 steps first, with 196 of the student's ")


def test_a_stage_inherits_the_training_and_its_length_replaces_the_other() -> None:
    one = recipe(TWO, "training.lr=0.5", "stages.0.training={steps: 3}")
    stage, main = one.legs()
    assert (stage.training.steps, stage.training.epochs, stage.training.lr) == (3, None, 0.5)
    assert (main.training.steps, main.training.epochs) == (None, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.0.terms=[]", "stages.0.terms: expected at least one term"),
        ("stages.0.terms.0.at=null", "stages.0.terms.0.at: this loss compares features"),
        ("stages.0.training.selection=best", "stages.0.training.selection = 'best': a stage hands"),
        ("stages.0.training.lr=-1", "stages.0.training.lr = -1: .*greater than 0"),
        ("stages.0.training.oops=1", "stages.0.training.oops = 1"),
        ("stages.0.name=", "expected a value"),
        ("compare.arms.0.name=two stages/hint", "an arm is called two stages/hint as well"),
        ("stages.0.terms.0.loss=hnit", "stages.0.terms.0.loss = 'hnit': unknown loss.*hint"),
    ],
)
def test_faults_of_stages_are_found_where_they_are_written(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(TWO, change)


def test_check_finds_a_wrong_layer_of_a_stage_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(TWO.replace("at: stage1, via: auto}]\n    t", "at: stgae1}]\n    t"), "utf-8")
    with pytest.raises(RecipeError, match=r"two.yaml:9: stages.0.terms.0.at.0 = 'stgae1'"):
        list(check(str(file)))


def test_check_finds_a_wrong_layer_of_a_stage_beside_other_faults(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    wrong = TWO.replace("at: stage1, via: auto}]\n    t", "at: stgae1}]\n    t")
    file.write_text(wrong.replace("threads: 1", "threads: 0"), "utf-8")
    with pytest.raises(RecipeError) as caught:
        list(check(str(file)))
    assert "two.yaml:3: threads = 0" in str(caught.value)
    assert "two.yaml:9: stages.0.terms.0.at.0 = 'stgae1'" in str(caught.value)


def test_check_names_the_stages_of_an_arm(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(TWO, encoding="utf-8")
    stage = "{name: warm, terms: [{loss: ce}], training: {epochs: 1}}"
    lines = dict(check(str(file), ["stages=[]", f"compare.arms.1.stages=[{stage}]"]))
    assert lines["arm two stages"] == "in stages: first warm (1 epoch), then its own terms"
