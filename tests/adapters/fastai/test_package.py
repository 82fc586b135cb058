import subprocess
import sys

import pytest
import torch

pytest.importorskip("fastai", reason="fastai is not installed")

from fastai.learner import Learner

from tutelage.adapters import fastai as ours
from tutelage.adapters.fastai.fitting import running_fit


def test_without_fastai_the_message_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['fastai'] = None\n"
        "from tutelage.errors import MissingPackageError\n"
        "try: import tutelage.adapters.fastai\n"
        "except MissingPackageError as error: print(error.exit_code, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2 ")
    assert 'pip install "tutelage[fastai]"' in done.stdout


def test_every_name_that_is_announced_exists() -> None:
    for name in ours.__all__:
        assert getattr(ours, name) is not None
        assert name in ours.available_schedules() or getattr(ours, name).__doc__


def test_a_learner_without_the_callback_trains_as_if_nothing_were_imported(learner, net) -> None:
    weights = []
    for fit in (Learner.fit, Learner.fit.__wrapped__):
        learn = learner(model=net(4, seed=2))
        fit(learn, 2)
        assert running_fit(learn) is None
        weights.append([parameter.detach() for parameter in learn.model.parameters()])
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_fit_is_wrapped_once_and_shows_its_own_signature() -> None:
    assert not hasattr(Learner.fit.__wrapped__, "tells_how_it_ends")
    assert Learner.fit.__name__ == "fit"
