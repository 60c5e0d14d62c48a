"""Settings that go together or do not; what single values may be is tested with the configs."""

from qa.config.settings import suggestion


def test_a_close_name_is_suggested_and_a_strange_one_is_not() -> None:
    assert suggestion("batchsize", ["seed", "batch_size"]) == "; did you mean batch_size?"
    assert suggestion("lr", ["optimizer.lr", "scheduler"]) == "; did you mean optimizer.lr?"
    assert "--help" in suggestion("zzz", ["seed", "batch_size"])
