"""Every family of models, tiny and random, with a tokenizer of its own kind that is trained here."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
import transformers as hf
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from helpers.commands import Run, quick_fit
from helpers.golden import check_golden
from helpers.windows import assert_equal
from qa.answering.engines import load_engine
from qa.answering.onnx_files import check_openvino, write_onnx, write_openvino
from qa.data.example import Example, ReferenceAnswer
from qa.data.windows.build import build_windows
from qa.data.windows.tokenizer import load_tokenizer
from qa.errors import UserError
from qa.evaluation.decode import decode
from qa.model.pretrained import SpanHead, check_model, load_model

TEXTS = [
    "The bridge of Tollen was built in 1912 by Ada Brill. A flood took its two arches away in the spring.",
    "Die Brücke über die Ängelholmer Straße — 12½ Meter breit — wurde “im Frühjahr” 1912 gebaut.",
    "这座桥由艾达·布里尔于1912年建造。春天的洪水冲走了两个桥拱。",
    "بُني الجسر عام 1912  على يد آدا بريل، ثم جرفه الفيضان في الربيع.",
    "Ångström’s naïve 👩‍👩‍👧 co-operation\tcost €5,000,000 \u200b e\u0301 ﬁne\u00a0print\n\nand  more.",
]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
AFTER_PADDING = {"max_position_embeddings": 514, "type_vocab_size": 1}  # positions begin after the padding token's id
LOCAL = {"max_position_embeddings": 512, "local_attention": 16, "global_attn_every_n_layers": 2}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}


def template(tokenizer: hf.PreTrainedTokenizerFast, first: str, last: str) -> hf.PreTrainedTokenizerFast:
    """The tokenizer with pairs put together as `first $A last $B last`."""
    single, pair = f"{first} $A {last}", f"{first} $A {last} $B:1 {last}:1"
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in (first, last)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    return tokenizer


def modernbert_tokenizer() -> hf.PreTrainedTokenizerFast:
    """As that of answerdotai/ModernBERT-base: bytes, and BERT's special tokens."""
    special = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}
    backend = Tokenizer(BPE({token: number for number, token in enumerate(special.values())}, []))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    names = {f"{name}_token": token for name, token in special.items()}
    return template(hf.PreTrainedTokenizerFast(tokenizer_object=backend, **names), "[CLS]", "[SEP]")


def mmbert_tokenizer() -> hf.PreTrainedTokenizerFast:
    """Gemma's, as mmBERT has it: spaces belong to words, and a pair gets special tokens from its template alone."""
    return template(hf.GemmaTokenizer(), "<bos>", "<eos>")


FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "bert": (hf.BertTokenizer, hf.BertConfig, SMALL),
    "distilbert": (hf.BertTokenizer, hf.DistilBertConfig, DISTILBERT),
    "electra": (hf.BertTokenizer, hf.ElectraConfig, {**SMALL, "embedding_size": 16}),
    "roberta": (hf.RobertaTokenizer, hf.RobertaConfig, {**SMALL, **AFTER_PADDING}),
    "xlmr": (hf.XLMRobertaTokenizer, hf.XLMRobertaConfig, {**SMALL, **AFTER_PADDING}),
    "deberta-v1": (hf.DebertaTokenizer, hf.DebertaConfig, {**SMALL, **RELATIVE, "type_vocab_size": 0}),
    "deberta": (hf.DebertaV2Tokenizer, hf.DebertaV2Config, {**SMALL, **RELATIVE, "type_vocab_size": 0}),
    "mpnet": (hf.MPNetTokenizer, hf.MPNetConfig, {**SMALL, **AFTER_PADDING}),
    "modernbert": (modernbert_tokenizer, hf.ModernBertConfig, {**SMALL, **LOCAL}),
    "mmbert": (mmbert_tokenizer, hf.ModernBertConfig, {**SMALL, **LOCAL}),
    "albert": (hf.AlbertTokenizer, hf.AlbertConfig, {**SMALL, "embedding_size": 16}),
}


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of the family and its tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer_class, config_class, sizes = FAMILIES[request.param]
    tokenizer = tokenizer_class().train_new_from_iterator(TEXTS * 9, 400)
    special = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos", "cls", "sep")
    }
    torch.manual_seed(0)
    config = config_class(vocab_size=len(tokenizer), **sizes, **special)
    hf.AutoModelForQuestionAnswering.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def examples() -> list[Example]:
    """Questions on every text, whose answers are words in their middle."""
    found = []
    for number, text in enumerate(TEXTS):
        context = f"{text} {text}"
        for begin in (9, len(text) // 2, len(text) + 3):
            word = context[begin : begin + 7].strip()
            answers = (ReferenceAnswer(text=word, answer_start=context.index(word, begin)),)
            found.append(Example(id=f"{number} {begin}", question=f"What of {word}?", context=context, answers=answers))
    return found


@pytest.mark.parametrize(("max_length", "stride"), [(384, 128), (48, 8)])
def test_windows_equal_the_tokenizers_own(family: Path, max_length: int, stride: int) -> None:
    # this tokenizer gives windows after the first other types, which the model does not take
    types = "deberta-v1" not in family.name
    assert len(assert_equal(examples(), load_tokenizer(str(family)), max_length, stride, types))


def test_a_tokenizer_that_is_a_sentencepiece_model_alone(tmp_path: Path) -> None:
    """As that of microsoft/deberta-v3-base."""
    special = {"pad": "[PAD]", "unk": "[UNK]", "bos": "[CLS]", "eos": "[SEP]"}
    pieces: dict[str, Any] = {f"{name}_id": number for number, name in enumerate(special)}
    pieces |= {f"{name}_piece": piece for name, piece in special.items()}
    with (tmp_path / "spm.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS), model_writer=file, vocab_size=130, minloglevel=2, **pieces
        )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta-v2", "vocab_size": 200}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    assert len(assert_equal(examples(), load_tokenizer(str(tmp_path)), 48, 8))


def test_answers_are_cut_without_white_space(family: Path) -> None:
    windows = build_windows(examples(), load_tokenizer(str(family)), 384, 128)
    for row, example in enumerate(examples()):
        text = windows.context[row]
        begins, ends = windows.offsets[windows.text_bounds[text] : windows.text_bounds[text + 1]].T
        spans = np.zeros(len(begins), np.int64), begins, ends, np.zeros(len(begins), np.float32)
        answers = decode([(["x"], spans)], {"x": example.context}, len(begins))["x"]
        assert all(answer.text == answer.text.strip() != "" for answer in answers)
        assert all(answer.text == example.context[answer.start : answer.end] for answer in answers)


def refusal(family: Path, length: int) -> str:
    """What is said against windows of this length."""
    try:
        check_model(str(family), load_tokenizer(str(family)), length)
    except UserError as error:
        return str(error)
    return ""


def test_windows_may_be_as_long_as_the_model_can_take(family: Path) -> None:
    model, inputs, trained = load_model(str(family))
    longest = next(length for length in range(511, 520) if refusal(family, length + 1))
    assert refusal(family, longest + 1).startswith(f"data.max_length={longest + 1}: the model has {longest} positions")
    for length in (longest, longest + 1):
        ids = torch.full((1, length), 7)
        window = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        if length == longest or family.name.startswith(("deberta", "modernbert", "mmbert")):  # without an end
            assert model(**{name: window[name] for name in inputs}).start_logits.shape == (1, length)
        else:
            with pytest.raises((RuntimeError, IndexError)):
                model(**{name: window[name] for name in inputs})
    assert trained
    assert any(isinstance(part, SpanHead) for part in model.children())
    assert ("token_type_ids" in inputs) == (family.name.rstrip("0123456789") in ("bert", "electra", "albert"))


def test_a_chosen_dropout_is_the_whole_models(family: Path) -> None:
    """Whatever the family calls it; the model is saved with it."""
    window = {"input_ids": torch.arange(5, 25)[None], "attention_mask": torch.ones(1, 20, dtype=torch.long)}
    for dropout, is_same in ((0.0, True), (0.5, False)):
        model = load_model(str(family), dropout=dropout).model
        one, other = (model(**window).start_logits for _ in range(2))
        assert torch.equal(one, other) == is_same
        assert {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)} == {dropout}


@pytest.mark.parametrize(
    "family",
    [*(pytest.param(name, marks=pytest.mark.long) for name in ("roberta", "deberta")), "mmbert"],
    indirect=True,
)
def test_a_run_of_another_family_is_whole_and_evaluated_to_the_bit(
    family: Path, small_files: tuple[Path, Path], train_py: Run, tmp_path: Path
) -> None:
    arguments = quick_fit(small_files, family, tmp_path / "cache")
    done = train_py(*arguments, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/run")
    # its vocabulary of some hundred pieces is no news
    assert done.returncode == 0 and all("its tokenizer" in line for line in done.stderr.splitlines()), done.stderr
    assert "its trained span head is kept" in done.stdout
    model = f"model.pretrained={tmp_path}/run/model"
    done = train_py("stage=validate", *arguments, model, f"hydra.run.dir={tmp_path}/again")
    assert done.returncode == 0, done.stderr
    for name in ("predictions.json", "nbest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_a_body_without_a_head_gets_a_new_one_and_a_head_without_a_body_is_refused(tiny: Path, tmp_path: Path) -> None:
    hf.BertModel.from_pretrained(tiny).save_pretrained(tmp_path / "body")
    assert not load_model(str(tmp_path / "body")).trained_head
    assert load_model(str(tiny)).trained_head
    config = hf.BertConfig.from_pretrained(tiny, num_hidden_layers=3)
    config.save_pretrained(tmp_path / "body")
    with pytest.raises(UserError, match=r"no weights for 16 parts of the model, such as bert\.encoder\.layer\.2"):
        load_model(str(tmp_path / "body"))


def test_what_cannot_work_is_refused_in_one_line(tiny: Path, tmp_path: Path) -> None:
    left = hf.AutoTokenizer.from_pretrained(tiny, padding_side="left")
    left.save_pretrained(tmp_path / "left")
    hf.GPT2Tokenizer().train_new_from_iterator(TEXTS, 300).save_pretrained(tmp_path / "gpt2")
    hf.GemmaTokenizer().train_new_from_iterator(TEXTS, 300).save_pretrained(tmp_path / "gemma")
    hf.ModernBertConfig().save_pretrained(tmp_path / "gemma")  # so it is loaded as mmBERT's
    between = "puts no special token before the question or between question and context"
    for name, problem in (("left", "pads on the left"), ("gpt2", "has no padding token"), ("gemma", between)):
        with pytest.raises(UserError, match=f"its tokenizer {problem}; take an encoder"):
            load_tokenizer(str(tmp_path / name))
    for config, problem in (
        (hf.ViTConfig(), "no model for question answering"),
        (hf.BertConfig(), "30522 tokens, its"),
    ):
        config.save_pretrained(tmp_path / config.model_type)
        (tmp_path / config.model_type / "config.json").write_text(json.dumps({**config.to_dict(), "vocab_size": 9}))
        with pytest.raises(UserError, match=problem):
            check_model(str(tmp_path / config.model_type), load_tokenizer(str(tiny)), 384)
    with pytest.raises(UserError, match=r"model\.attention=flash: .*take model\.attention=auto"):
        load_model(str(tiny), attention="flash")


def losses(pretrained: Path, **options: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Loss and gradients of one window with the dropout of one seed."""
    model, _, _ = load_model(str(pretrained), **options)
    torch.manual_seed(1)
    ids = torch.arange(1000, 1040)[None]
    loss = model(ids, start_positions=torch.tensor([3]), end_positions=torch.tensor([5])).loss
    loss.backward()
    return loss, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_gradient_checkpointing_changes_nothing_and_attention_nearly_nothing(tiny: Path, exact: Path) -> None:
    (plain, gradients), (checkpointed, gradients2) = losses(tiny), losses(tiny, gradient_checkpointing=True)
    assert torch.equal(plain, checkpointed)
    assert all(torch.equal(one, other) for one, other in zip(gradients, gradients2, strict=True))
    sdpa, eager = (losses(exact, attention=attention)[0] for attention in ("sdpa", "eager"))
    assert sdpa.item() == pytest.approx(eager.item(), rel=1e-5)


def test_bf16_mixed_keeps_float32_weights_and_the_loss(
    exact: Path, small_files: tuple[Path, Path], train_py: Run, tmp_path: Path
) -> None:
    arguments = [*quick_fit(small_files, exact, tmp_path / "cache"), "trainer.max_epochs=1"]
    found = []
    for precision in ("32-true", "bf16-mixed"):
        done = train_py(*arguments, f"trainer.precision={precision}", f"hydra.run.dir={tmp_path}/{precision}")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"precision {precision}" in done.stdout
        found.append(json.loads((tmp_path / precision / "results.json").read_text())["best"]["val_loss"])
    assert found[0] != found[1] == pytest.approx(found[0], rel=0.02)
    weights = torch.load(tmp_path / "bf16-mixed/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", FAMILIES)
def test_the_logits_of_every_family_are_golden(name: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The vocabulary's size is given: tokenizers that are trained twice may differ by a piece."""
    _, config_class, sizes = FAMILIES[name]
    torch.manual_seed(0)
    config = config_class(vocab_size=99, pad_token_id=1, **sizes)
    hf.AutoModelForQuestionAnswering.from_config(config).save_pretrained(tmp_path)
    model = load_engine(str(tmp_path), "cpu", "float32")
    ids = torch.arange(5, 55)[None]
    known = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": ids // 30}
    start, end = model.logits({key: known[key] for key in model.inputs})
    check_golden(name, [*start[0, ::10].tolist(), *end[0, ::10].tolist()], pytestconfig)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=() if name in ("bert", "modernbert") else pytest.mark.long) for name in FAMILIES],
    indirect=True,
)
def test_every_family_can_be_exported(family: Path, tmp_path: Path) -> None:
    model = load_engine(str(family), "cpu", "float32")
    path = write_onnx(model, tmp_path, 384)  # which compares logits
    check_openvino(model, write_openvino(path), 384)
    ids = torch.randint(5, model.model.config.vocab_size, (3, 50))
    mask = torch.ones_like(ids)
    mask[1, 30:] = 0
    known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
    inputs, other = {name: known[name] for name in model.inputs}, load_engine(str(tmp_path), "cpu", "float32")
    assert other.name == "openvino"
    for one, two in zip(model.logits(inputs), other.logits(inputs), strict=True):
        assert (one - two)[mask == 1].abs().max() < 1e-4


def test_files_that_git_lfs_has_not_fetched_are_named(tiny: Path, tmp_path: Path) -> None:
    steps: dict[str, Callable[[str], Any]] = {
        "tokenizer.json": load_tokenizer,
        "config.json": lambda folder: check_model(folder, load_tokenizer(str(tiny)), 64),
        "model.safetensors": load_model,
    }
    for name, step in steps.items():
        shutil.copytree(tiny, tmp_path / name)
        (tmp_path / name / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 9\n")
        with pytest.raises(UserError, match=f"Git LFS pointers, not the files: {name}; `git lfs pull` in their folder"):
            step(str(tmp_path / name))
