"""Exported models answer as the model that they were made of, or are refused; no answer depends on another question."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from qa import QuestionAnswerer, UserError
from qa.answering import onnx_files
from qa.answering.check import read_known
from qa.answering.options import Options
from qa.answering.work import Ask
from qa.export import main

pytestmark = pytest.mark.slow
Files = tuple[Path, Path]


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["qa.export", *map(str, words)])
    return main()


@pytest.fixture(scope="module")
def exported(tiny: Path, v2_files: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny model itself and in all its forms, by engine."""
    made = tmp_path_factory.mktemp("exported")
    (made / "onnx.tmp").mkdir()
    (made / "onnx.tmp" / "thesis.txt").touch()
    with pytest.MonkeyPatch.context() as patch:
        for engine in ("onnx", "openvino"):
            words = (tiny, "--to", engine, "--check", v2_files[0], "--out")
            assert run(patch, *words, made / engine) == 0
            assert run(patch, *words, made / f"{engine}-int8", "--int8", "--tolerance", "100") == 0
    return {"torch": tiny, **{path.name: path for path in made.iterdir()}}


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_exported_model_answers_as_the_model(
    exported: dict[str, Path], tiny: Path, v2_files: Files, engine: str
) -> None:
    options = {"max_length": 64, "stride": 16}
    model, other = (QuestionAnswerer.from_pretrained(str(path), **options) for path in (tiny, exported[engine]))  # type: ignore[arg-type]
    assert (model.engine.name, other.engine.name) == ("torch", engine)
    asked = read_known(str(v2_files[1]))
    texts = [example.question for example in asked], [example.context for example in asked]
    for one, two in zip(model(*texts, top_k=3), other(*texts, top_k=3), strict=True):
        assert (one.text, one.start) == (two.text, two.start)
        assert one.probability == pytest.approx(two.probability, abs=1e-5)
    pairs = list(zip(*texts, strict=True)) * 4
    with ThreadPoolExecutor(8) as pool:  # a session, and each thread's request, are shared by nobody who minds
        found = list(pool.map(lambda pair: other(*pair), pairs))
    assert [a.text for a in found] == [a.text for a in other(*texts)] * 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("engine", ["torch", "onnx", "onnx-int8", "openvino", "openvino-int8"])
def test_an_answer_is_the_same_alone_and_beside_others(
    exported: dict[str, Path], v2_files: Files, engine: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine.startswith("onnx") and dtype != "float32":
        pytest.skip("ONNX Runtime computes as a model was exported")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)  # two lanes
    answerer = QuestionAnswerer.from_pretrained(str(exported[engine]), "cpu", dtype, max_length=64, stride=16)
    examples, draw = read_known(str(v2_files[1])), random.Random(0)
    asks = [Ask(example.question, [example.context[: draw.randint(20, 400)]]) for example in examples]
    asks.append(Ask("Who built it?", [example.context for example in examples]))  # many windows
    options = Options(top_k=3, handle_impossible_answer=True)
    alone = [answerer.answers([ask], options)[0] for ask in asks]
    for company in (asks, draw.sample(asks, 9), draw.sample(asks, 17)):
        assert answerer.answers(company, options) == [alone[asks.index(ask)] for ask in company]


def test_a_folder_of_an_export_holds_what_it_needs_and_says_what_it_is(exported: dict[str, Path]) -> None:
    names = {path.name for path in exported["onnx"].iterdir()}
    assert names == {"README.md", "config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"}
    card = (exported["openvino"] / "README.md").read_text()
    assert "library_name: openvino" in card and "# For OpenVINO, in float32" in card
    assert "Checked with 60 questions of `train.json`" in card and "| other answers |  | 0 |" in card
    beside = {path.name for path in exported["onnx"].parent.iterdir()}
    assert {name for name in beside if not name.endswith("int8")} == {"onnx", "onnx.tmp", "openvino"}
    assert (exported["onnx"].with_suffix(".tmp") / "thesis.txt").exists()


@pytest.mark.parametrize(("engine", "way"), [("onnx", "dynamic int8"), ("openvino", "static int8")])
def test_int8_is_smaller_and_fitted_with_other_questions_than_it_is_checked_with(
    exported: dict[str, Path], tiny: Path, engine: str, way: str
) -> None:
    folder = exported[f"{engine}-int8"]
    card = (folder / "README.md").read_text()
    assert f", in {way}" in card and "Checked with 42 questions of `train.json`" in card
    size = sum(path.stat().st_size for path in folder.glob("*model.*"))
    assert size < 1.1 * (tiny / "model.safetensors").stat().st_size  # its embeddings stay


def test_an_export_that_loses_too_much_is_refused_and_leaves_nothing(
    tiny: Path, v2_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = (tiny, "--to", "onnx", "--int8", "--out", tmp_path / "int8", "--check", v2_files[0], "--tolerance=-1")
    assert run(monkeypatch, *words) == 1
    assert "more than --tolerance -1; try --to openvino --int8; nothing is written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_export_is_not_taken(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = onnx_files._export

    def wrong(engine: Any, path: Path, opset: int) -> None:
        with torch.no_grad():
            engine.model.qa_outputs.bias += 1e-2
        plain(engine, path, opset)
        with torch.no_grad():
            engine.model.qa_outputs.bias -= 1e-2

    monkeypatch.setattr(onnx_files, "_export", wrong)
    with pytest.raises(UserError, match=r"a bert model cannot be exported by torch .* \(its logits differ by 0.01\)"):
        run(monkeypatch, tiny, "--to", "onnx", "--out", tmp_path / "out", "--tolerance", "100")
    assert list(tmp_path.iterdir()) == []


def test_logits_that_are_no_numbers_are_other_logits(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = QuestionAnswerer.from_pretrained(str(tiny)).engine

    def broken(inputs: Any) -> Any:
        start, end = engine.logits(inputs)
        return start, end.where(end < end.max(), torch.nan)

    monkeypatch.setattr(onnx_files, "load_openvino", lambda _: engine._replace(logits=broken))
    with pytest.raises(UserError, match="OpenVINO's logits differ by nan from the model's; take --to onnx"):
        onnx_files.check_openvino(engine, tiny, 64)


def test_what_cannot_be_exported_or_loaded_is_one_line(
    exported: dict[str, Path], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="onnx: already exists; remove it, or give another --out"):
        run(monkeypatch, tiny, "--to", "onnx", "--out", exported["onnx"])
    with pytest.raises(UserError, match="is exported already; give the model that it was made of"):
        run(monkeypatch, exported["onnx"], "--to", "openvino", "--out", tmp_path / "out")
    with pytest.raises(UserError, match="none: no folder that can be written to; give another --out"):
        run(monkeypatch, tiny, "--to", "onnx", "--out", tmp_path / "none" / "out")
    with pytest.raises(UserError, match="--tolerance nan: should be a number of points"):
        run(monkeypatch, tiny, "--to", "onnx", "--tolerance", "nan")
    (tmp_path / "one.jsonl").write_text('{"question": "Who?", "context": "Ada Brill.", "answer": "Ada Brill"}\n')
    with pytest.raises(UserError, match="--check: all questions are on one paragraph; give a file with several"):
        run(monkeypatch, tiny, "--to", "onnx", "--int8", "--out", tmp_path / "out", "--check", tmp_path / "one.jsonl")
    load = QuestionAnswerer.from_pretrained
    with pytest.raises(UserError, match=r"^device=cuda: .*model\.onnx runs on the CPU; give cpu, or the model"):
        load(str(exported["onnx"]), device="cuda")
    with pytest.raises(UserError, match=r"^dtype=bfloat16: .*model\.onnx computes as it was exported; give float32"):
        load(str(exported["onnx"]), dtype="bfloat16")
    with pytest.raises(UserError, match=r"^dtype=float16: OpenVINO has float32 and bfloat16; give one of them"):
        load(str(exported["openvino"]), dtype="float16")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    assert load(str(tmp_path)).engine.name == "torch"  # another program's file beside the weights
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.onnx: cannot be read \(.*\); export it again"):
        load(str(tmp_path))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"that are not installed; pip install --no-deps -r requirements-export"):
        load(str(exported["onnx"]))
    monkeypatch.setattr(onnx_files, "NEEDED", ("onnx", "a_package_that_nobody_has"))
    with pytest.raises(UserError, match="a_package_that_nobody_has is not installed; pip install --no-deps -r"):
        run(monkeypatch, tiny, "--to", "onnx", "--out", tmp_path / "out")
