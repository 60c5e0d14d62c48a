"""`QuestionAnswerer`: a model that answers."""

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self, Unpack, overload

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from qa.answering.answer import Answer
from qa.answering.engines import Engine, load_engine
from qa.answering.lanes import Lanes, lane_count
from qa.answering.options import AnswerOptions, Options
from qa.answering.ranking import choose_texts
from qa.answering.shift import warning_of
from qa.answering.work import Ask, Reading, Work
from qa.data.arrays import Ints
from qa.data.epochs.batches import EvaluationBatch, EvaluationBatches
from qa.data.example import Example
from qa.data.windows.build import Windows, build_windows, without_room
from qa.data.windows.tokenizer import backend, check_lengths, load_tokenizer, pair_template
from qa.errors import UserError, spelled
from qa.evaluation.collect import EvaluatedBatch, evaluate_batch
from qa.hub import check_pretrained, local_folder
from qa.model.answering import Answering
from qa.model.pretrained import check_model, check_positions

ARGUMENTS = {r"model\.pretrained=": "", r"\bdata\.(max_length|stride)\b": r"\1"}  # for settings of train.py
USUAL_OPTIONS = Options()
# of a batch where `batch_size` is "auto", padding included; elsewhere each window is computed alone: that costs a CPU
# little, and beside others its sums would be rounded otherwise, its int8 scales would be theirs, too
BATCH_TOKENS = {"cuda": 1 << 16}


class QuestionAnswerer:
    """Answers questions from texts of any length. Several threads may share one."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: PreTrainedTokenizerFast,
        answering: Answering,
        files: Sequence[Path] = (),
        positions: int | None = None,
    ) -> None:
        """Takes a model's parts; see `from_pretrained`. `positions`: the model's, None where it has no end."""
        self.engine, self.tokenizer, self.answering, self.files = engine, tokenizer, answering, files
        self.positions = positions
        self.batch_tokens = BATCH_TOKENS.get(engine.device.type, 0)
        # other engines fill all threads with a window
        is_shared = engine.name == "torch" and engine.device.type == "cpu" and lane_count() > 1
        self.lanes = Lanes() if is_shared else None
        self._template = pair_template(tokenizer)
        self._tokenizing = threading.Lock()  # a tokenizer is changed while it is in use

    @classmethod
    def from_pretrained(
        cls,
        pretrained: str,
        device: str = "auto",
        dtype: str = "float32",
        max_length: int | None = None,
        stride: int | None = None,
    ) -> Self:
        """Loads a folder, such as `RUN/model` or RUN, or an id of the hub; `device="auto"`: a GPU where there is one.

        Any model of `AutoModelForQuestionAnswering` will do. `max_length`: tokens of a window, `stride`: tokens that
        consecutive windows share; None: as the model was trained. Errors: UserError.
        """
        with _own_words():
            pretrained = check_pretrained(pretrained)
            tokenizer = load_tokenizer(pretrained)
            answering = _cut(Answering.load(pretrained), tokenizer, max_length, stride)
            positions = check_model(pretrained, tokenizer, answering.max_length)
            engine = load_engine(pretrained, device, dtype)
        if dtype != "float32":
            answering = answering.changed(error_bounds=[])  # its answers are others
        folder = local_folder(pretrained)
        files = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
        return cls(engine, tokenizer, answering, files, positions)

    def cut(self, max_length: int | None = None, stride: int | None = None) -> Self:
        """The same model with other windows; see `from_pretrained`. Errors: UserError."""
        other = copy.copy(self)
        with _own_words():
            other.answering = _cut(self.answering, self.tokenizer, max_length, stride)
            check_positions(self.positions, other.answering.max_length)
        return other

    def shortened(self, question: str, tokens: int) -> str:
        """The question, cut off after `tokens` tokens."""
        with self._tokenizing:
            offsets = backend(self.tokenizer).encode(question, add_special_tokens=False).offsets
        return question[: offsets[tokens - 1][1]] if len(offsets) > tokens else question

    def token_ids(self, texts: Sequence[str]) -> dict[str, Ints]:
        """The token ids of each text, without special ones."""
        with self._tokenizing:
            encodings = backend(self.tokenizer).encode_batch(list(texts), add_special_tokens=False)
        return {text: np.array(encoding.ids, np.int32) for text, encoding in zip(texts, encodings, strict=True)}

    @overload
    def __call__(self, question: str, context: str | Sequence[str], **options: Unpack[AnswerOptions]) -> Answer: ...

    @overload
    def __call__(
        self, question: list[str] | tuple[str, ...], context: str | Sequence[str], **options: Unpack[AnswerOptions]
    ) -> list[Answer]: ...

    def __call__(
        self, question: str | Sequence[str], context: str | Sequence[str], **options: Unpack[AnswerOptions]
    ) -> Answer | list[Answer]:
        """The answer of a question, or the list of the answers of several.

        One question and several contexts: the best answer in any of them; `context_index` says which. Several questions
        and one context, or as many contexts: an answer each. `options`: see `AnswerOptions`.

        Errors: UserError for empty texts, for a question that leaves no room for its context, for options out of range.
        """
        chosen = Options.check(options)
        questions, contexts = _texts("question", question), _texts("context", context)
        if not contexts:
            raise UserError("no context; give at least one")
        if isinstance(question, str):
            asks = [Ask(question, contexts)]
        elif len(contexts) in (1, len(questions)):
            numbers = range(len(questions)) if len(contexts) > 1 else [0] * len(questions)
            asks = [Ask(one, [contexts[number]], number) for one, number in zip(questions, numbers, strict=True)]
        else:
            raise UserError(f"{len(questions)} questions and {len(contexts)} contexts; give one context, or as many")
        if not asks:
            return []
        answers = self.answers(asks, chosen)
        return answers[0] if isinstance(question, str) else answers

    def answers(self, asks: Sequence[Ask], options: Options = USUAL_OPTIONS) -> list[Answer]:
        """The answer of each question. Errors: UserError as above."""
        return self.finish(asks, options).answers()

    def finish(self, asks: Sequence[Ask], options: Options = USUAL_OPTIONS) -> Work:
        """Questions with all of their windows evaluated. Errors: UserError as above."""
        work = self.begin(asks, options)
        while work.step():
            pass
        return work

    def begin(self, asks: Sequence[Ask], options: Options = USUAL_OPTIONS) -> Work:
        """Questions ready to be answered, a batch at a time. Errors: UserError as above."""
        readings = [self._read(number, ask, options.read_texts) for number, ask in enumerate(asks, 1)]
        examples = [
            _example(number, f"{number}.{place}" if place else f"{number}", ask.question, text)
            for number, (ask, reading) in enumerate(zip(asks, readings, strict=True), 1)
            for place, text in enumerate(reading.texts)
        ]
        with self._tokenizing:
            windows = build_windows(examples, self.tokenizer, self.answering.max_length, self.answering.stride)
        if len(lost := without_room(windows)):
            name, words = examples[lost[0]].id, examples[lost[0]].question
            room = f"no room for its context in windows of {self.answering.max_length} tokens"
            raise UserError(f"question {name}, '{words[:60]}…', is too long: it leaves {room}; shorten it")
        dataset = EvaluationBatches(windows, examples, self._template)
        most = options.max_answer_length or self.answering.max_answer_length
        batches = _batches(windows, options.batch_size, self.batch_tokens)
        compute = self.lanes.compute if self.lanes else map
        evaluated = compute(lambda rows: self._evaluate(dataset[rows], most), batches)
        known, ids, bounds = self.answering.known_texts, windows.token_ids, windows.text_bounds
        rows = {example.context: row for example, row in zip(examples, windows.context.tolist(), strict=True)}
        warnings = {text: warning_of(known, ids[bounds[row] : bounds[row + 1]]) for text, row in rows.items()}
        return Work(readings, examples, len(windows), evaluated, options, self.answering, warnings)

    def _read(self, number: int, ask: Ask, most: int | None) -> Reading:
        """The texts to read. Errors: UserError where all are blank, or one is no text."""
        for text in ask.contexts:
            if str(text).strip():
                _example(number, f"{number}", ask.question, text)
        if not (texts := ask.texts):
            count = len(ask.contexts)
            subject = f"all of its {count} contexts are" if count > 1 else "its context is"
            raise UserError(f"question {number}: {subject} empty; give a text")
        if most is None or len(texts) <= most:
            return Reading(texts, len(texts))
        with self._tokenizing:
            question, *others = backend(self.tokenizer).encode_batch([ask.question, *texts], add_special_tokens=False)
        pairs = list(texts.items())
        return Reading(dict(pairs[place] for place in choose_texts(question, others, most)), len(texts))

    def _evaluate(self, batch: EvaluationBatch, max_answer_length: int) -> EvaluatedBatch:
        device = self.engine.device
        inputs: dict[str, Tensor] = {name: batch[name].to(device) for name in self.engine.inputs}  # type: ignore[literal-required]
        batch = EvaluationBatch(**{**batch, "context_mask": batch["context_mask"].to(device)})
        return evaluate_batch(self.engine.logits(inputs), batch, None, self.answering.n_best, max_answer_length)


@contextmanager
def _own_words() -> Iterator[None]:
    """Raises each UserError in the words of the library."""
    try:
        yield
    except UserError as error:
        raise UserError(spelled(str(error), ARGUMENTS)) from None


def _cut(
    answering: Answering, tokenizer: PreTrainedTokenizerFast, max_length: int | None, stride: int | None
) -> Answering:
    lengths = {"max_length": max_length, "stride": stride}
    others = {key: value for key, value in lengths.items() if value not in (None, getattr(answering, key))}
    answering = answering.changed(**others, error_bounds=[]) if others else answering
    check_lengths(tokenizer, answering.max_length, answering.stride)
    return answering


def _texts(name: str, texts: str | Sequence[str]) -> list[str]:
    if not isinstance(texts, Sequence):
        raise UserError(f"{name}: give a text, or a list of texts, not {type(texts).__name__}")
    return [texts] if isinstance(texts, str) else list(texts)


def _example(number: int, name: str, question: str, context: str) -> Example:
    try:
        return Example(id=name, question=question, context=context)
    except ValidationError as error:
        first = error.errors()[0]
        kinds = {"blank": "is empty", "surrogate": "holds half of a surrogate pair"}
        problem = kinds.get(first["type"], "is no text")
        raise UserError(f"question {number}: its {first['loc'][0]} {problem}; give a text") from None


def _batches(windows: Windows, size: int | Literal["auto"], tokens: int) -> Iterator[NDArray[np.int64]]:
    """Batches of window numbers, [batch] each, the longest windows first."""
    lengths = windows.lengths()
    order = np.argsort(-lengths, kind="stable")
    begin = 0
    while begin < len(order):
        end = begin + (max(1, tokens // int(lengths[order[begin]])) if size == "auto" else size)
        yield np.sort(order[begin:end])
        begin = end
