"""Without a hub: said soon, in one line; the libraries' own retries take half a minute."""

import pytest
from conftest import Run

from qa import UserError
from qa.hub import check_pretrained, go_offline_if_unreachable

NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "", "HF_HOME": "/nonexistent/hub"}


def test_no_hub_and_no_cache_is_one_line(train_py: Run, tmp_path: object) -> None:
    done = train_py(f"hydra.run.dir={tmp_path}/run", **NO_HUB)
    assert done.returncode == 2
    line = done.stderr.strip()
    assert "\n" not in line
    for remedy in ("google-bert/bert-base-multilingual-cased", "data=local", "data.train_file", "make demo"):
        assert remedy in line


def test_own_model_but_data_of_the_hub(train_py: Run, tiny: object, tmp_path: object) -> None:
    done = train_py(f"model.pretrained={tiny}", f"hydra.run.dir={tmp_path}/run", **NO_HUB)
    assert done.returncode == 2
    assert "rajpurkar/squad" in done.stderr
    assert "data=local" in done.stderr
    assert "\n" not in done.stderr.strip()


def test_the_variable_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not go_offline_if_unreachable()


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_folder_that_is_not_there_is_no_hub_id(name: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        check_pretrained(name)
