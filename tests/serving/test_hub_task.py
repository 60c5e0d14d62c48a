"""What the hub's parameters do to an answer."""

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from fastapi.testclient import TestClient

from qa import QuestionAnswerer, UserError
from qa.serving.app import make_app
from qa.serving.corrections import Corrections
from qa.serving.hub import from_hub_request
from qa.serving.limits import Limits
from qa.serving.schemas import HubInputs, HubParameters, HubRequest

LONG = " ".join(f"In {year} Ada Brill built the bridge of Tollen{year}." for year in range(1500, 1560))


def request_of(**parameters: Any) -> HubRequest:
    inputs = HubInputs(question="When was it built?", context=LONG)
    return HubRequest(inputs=inputs, parameters=HubParameters(**parameters) if parameters else None)


@pytest.mark.parametrize(("max_length", "stride"), [(384, 128), (256, 128), (64, 50)])
def test_both_addresses_read_with_the_models_windows(tiny: Path, tmp_path: Path, max_length: int, stride: int) -> None:
    model = copytree(tiny, tmp_path / "model")
    (model / "qa.json").write_text(json.dumps({"max_length": max_length, "stride": stride}))
    answerer = QuestionAnswerer.from_pretrained(str(model), "cpu")
    app = make_app(answerer, "m", Corrections(tmp_path / "c.jsonl"), Limits(), None, ["localhost"])
    asked = request_of().inputs.model_dump()
    with TestClient(app, base_url="http://localhost") as client:
        one = client.post("/answer", json=asked).json()["answers"][0]
        for parameters in ({}, {"parameters": {"max_seq_len": max_length}}, {"parameters": {"doc_stride": stride}}):
            other = client.post("/", json={"inputs": asked, **parameters}).json()
            assert (other["answer"], other["start"], other["score"]) == (one["text"], one["start"], one["probability"])


@pytest.mark.parametrize(
    ("parameters", "windows"),
    [({"max_seq_len": 64}, (64, 32)), ({"max_seq_len": 64, "doc_stride": 50}, (64, 50)), ({"doc_stride": 0}, (384, 0))],
)
def test_parameters_change_the_windows(tiny: Path, parameters: dict[str, int], windows: tuple[int, int]) -> None:
    answerer = QuestionAnswerer.from_pretrained(str(tiny), "cpu")
    known = from_hub_request(request_of(**parameters), answerer).answerer.answering
    assert (known.max_length, known.stride) == windows
    with pytest.raises(UserError, match=r"^doc_stride=61: windows of max_seq_len=64 have room"):
        from_hub_request(request_of(max_seq_len=64, doc_stride=61), answerer)
