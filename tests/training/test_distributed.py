import pytest

from tutelage.errors import InputError
from tutelage.training import open_ranks


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"WORLD_SIZE": "2"}, r"beside WORLD_SIZE=2, found no RANK, MASTER_ADDR, MASTER_PORT;"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "found no MASTER_PORT;"),
        ({"WORLD_SIZE": "two"}, "a whole number in WORLD_SIZE, .* found 'two'"),
        ({"LOCAL_RANK": "-1"}, "a whole number in LOCAL_RANK, .* found '-1'"),
    ],
)
def test_environment_that_is_half_of_torchruns_is_refused(monkeypatch, values, message) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=message) as caught, open_ranks("cpu"):
        pass
    assert caught.value.exit_code == 2
