import pytest
import torch

from tutelage.data.labels import check_labels, check_several_classes
from tutelage.errors import DataError, InputError


@pytest.mark.parametrize("bad", [10, -1, 255])
def test_a_label_outside_the_classes_is_named_with_its_index(bad):
    with pytest.raises(
        DataError, match=rf"toy: .*C = 10 classes.*found {bad} at index 2 \(2 such"
    ) as caught:
        check_labels(torch.tensor([0, 9, bad, 3, bad]), 10, where="toy")
    assert caught.value.exit_code == 3


def test_the_first_and_last_class_are_inside():
    check_labels(torch.tensor([0, 9]), 10, where="toy")


def test_no_label_at_all_is_an_empty_data_set():
    with pytest.raises(InputError, match=r"toy: .*empty data set") as caught:
        check_labels(torch.tensor([], dtype=torch.int64), 10, where="toy")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("labels", [torch.tensor([0.0, 1.0]), torch.tensor([[0], [1]])])
def test_labels_that_are_no_row_of_whole_numbers_are_refused(labels):
    with pytest.raises(InputError, match=r"whole-number labels of shape \[N\]"):
        check_labels(labels, 10, where="toy")


def test_one_class_only_is_refused_by_its_name():
    with pytest.raises(InputError, match="at least 2 classes, found only class 'b'") as caught:
        check_several_classes(torch.tensor([1, 1]), ("a", "b"), where="toy")
    assert caught.value.exit_code == 2
