"""Makes an archive such as tests/runs/earlier_run.tar.gz: a finished and an interrupted run, their data and model.

    python tests/helpers/earlier_run.py OUT.tar.gz

Each archive is of one commit: a test shows that later code still reads, resumes and compares it.
"""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing
from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast

TOWNS = ("Arlbrook", "Brembury", "Caldfell", "Dornham", "Eldwick", "Fennbrook", "Gellbury", "Hestfell")
SETTINGS = (
    "data=local", "data.train_file=train.json", "data.validation_file=validation.json", "data.max_length=48",
    "data.stride=8", "data.batch_size=2", "model.pretrained=model", "optimizer.lr=1e-2", "trainer.max_epochs=2",
    "trainer.accelerator=cpu", "logger=csv", "checkpoint.every_n_steps=2", "checkpoint.keep=5",
)  # fmt: skip


def squad(towns: tuple[str, ...]) -> dict[str, object]:
    """A paragraph and a question for each town."""
    paragraphs = []
    for number, town in enumerate(towns):
        context = f"The bridge of {town} was built in {1800 + number}."
        answer = {"text": str(1800 + number), "answer_start": context.index("18")}
        question = {"id": f"{town}", "question": f"When was the bridge of {town} built?", "answers": [answer]}
        paragraphs.append({"context": context, "qas": [question]})
    return {"version": "1.1", "data": [{"title": "Bridges", "paragraphs": paragraphs}]}


def make_model(folder: Path) -> None:
    """A random BERT of 8 hidden units whose vocabulary is the words of the data."""
    words = sorted({w for t in TOWNS for w in f"the bridge of {t.lower()} was built in when ? .".split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *map(str, range(1800, 1808))]
    backend = Tokenizer(WordPiece({word: row for row, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = BertNormalizer(lowercase=True), BertPreTokenizer()
    backend.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = dict.fromkeys(("pad", "unk", "cls", "sep", "mask"))
    names = {f"{name}_token": f"[{name.upper()}]" for name in special}
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=48,
    )  # fmt: skip
    BertForQuestionAnswering(config).save_pretrained(folder)


def main() -> None:
    train = Path(__file__).resolve().parent.parent.parent / "train.py"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        for file, towns in {"train.json": TOWNS[:6], "validation.json": TOWNS[6:]}.items():
            (folder / file).write_text(json.dumps(squad(towns)), encoding="utf-8")
        command = [sys.executable, str(train), *SETTINGS, "hydra.run.dir=finished"]
        subprocess.run(command, cwd=folder, check=True)
        held = folder / "interrupted" / "checkpoints"
        held.mkdir(parents=True)
        shutil.copy(folder / "finished" / "checkpoints" / "step-2.ckpt", held / "last.ckpt")
        shutil.copytree(folder / "finished" / ".hydra", folder / "interrupted" / ".hydra")
        for path in (*(folder / "finished" / "checkpoints").glob("step-*"), *(folder / "finished").glob("curves.*")):
            path.unlink()
        for name in ("report.html", ".run.lock", "train.log"):
            (folder / "finished" / name).unlink()
        with tarfile.open(sys.argv[1], "w:gz") as archive:
            for name in ("model", "train.json", "validation.json", "finished", "interrupted"):
                archive.add(folder / name, name)


if __name__ == "__main__":
    main()
