from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tutelage.errors import TeacherError
from tutelage.teachers.output import ClassMap, logits_of

LOGITS = torch.arange(6.0).view(2, 3)
INPUTS = torch.zeros(2, 4)


@pytest.mark.parametrize(
    "output", [LOGITS, {"logits": LOGITS}, SimpleNamespace(logits=LOGITS), (LOGITS, LOGITS + 1)]
)
def test_logits_are_found_in_tensors_mappings_and_objects(output):
    assert logits_of(output, INPUTS) is LOGITS


@pytest.mark.parametrize("output", [(LOGITS[0], LOGITS), {"out": LOGITS}, None, {"logits": None}])
def test_an_output_without_logits_is_refused(output):
    with pytest.raises(TeacherError, match=r"teacher: expected.*logits.*wrap the model") as caught:
        logits_of(output, INPUTS)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("shape", [(1, 3), (4, 3), ()])
def test_another_batch_size_is_refused_with_both_shapes(shape):
    with pytest.raises(TeacherError, match=r"expected 2 rows of logits for inputs \[2, 4\]"):
        logits_of(torch.zeros(shape), INPUTS)


@pytest.mark.parametrize("inputs", [(INPUTS, 1), {"x": INPUTS}])
def test_the_batch_size_is_checked_for_several_inputs_too(inputs):
    assert logits_of(LOGITS, inputs) is LOGITS
    with pytest.raises(TeacherError, match="expected 2 rows"):
        logits_of(LOGITS[:1], inputs)


def test_classes_are_chosen_in_the_given_order():
    assert ClassMap((2, 0))(LOGITS).tolist() == [[2.0, 0.0], [5.0, 3.0]]


def test_the_class_axis_of_dense_logits_can_be_named():
    dense = torch.randn(2, 5, 3, 4)
    assert torch.equal(ClassMap([4, 1], axis=1)(dense), dense[:, [4, 1]])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1, 1], r"found \[1\] more than once"),
        ([-1, 0], "integers from 0"),
        ([0.0, 1.0], "integers from 0"),
        ([True, False], "integers from 0"),
        ([], "integers from 0"),
    ],
)
def test_a_map_that_is_no_choice_of_classes_is_refused(classes, message):
    with pytest.raises(TeacherError, match=message):
        ClassMap(classes)


def test_a_map_beyond_the_teachers_classes_is_refused():
    with pytest.raises(TeacherError, match="below the teacher's 3 classes, found 3"):
        ClassMap([0, 3])(LOGITS)


@pytest.mark.parametrize("kind", [np.array, torch.tensor, tuple])
def test_a_class_map_may_stand_in_an_array(kind):
    assert ClassMap(kind([2, 0]))(LOGITS).tolist() == [[2.0, 0.0], [5.0, 3.0]]
