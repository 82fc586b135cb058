import importlib
import warnings

import pytest

from tutelage.data.optional import torchvision_module
from tutelage.errors import MissingPackageError


@pytest.mark.parametrize(
    "failure",
    [
        ImportError("No module named 'torchvision'"),
        RuntimeError("operator torchvision::nms does not exist"),
        OSError("libcudart.so: cannot open shared object file"),
        AttributeError("partially initialized module 'torchvision'"),
    ],
)
def test_any_failure_of_an_import_names_the_extra(monkeypatch, failure):
    def fails(name):
        raise failure

    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(MissingPackageError, match=r'install "tutelage\[vision\]"') as caught:
        torchvision_module("datasets")
    assert str(failure) in str(caught.value)
    assert caught.value.exit_code == 2


def test_warnings_of_an_import_do_not_reach_the_user(monkeypatch):
    def warns(name):
        warnings.warn("failed to load image extension", stacklevel=1)
        return name

    monkeypatch.setattr(importlib, "import_module", warns)
    assert torchvision_module("datasets") == "torchvision.datasets"
