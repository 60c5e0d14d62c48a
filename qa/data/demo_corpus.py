"""The embedded demo corpus: invented paragraphs with questions, so that a run needs no download.
A topic is a title, an opening and further facts, all written as templates; a paragraph is the opening and some of the
facts in any order. Names, years and amounts are drawn from pools that the two splits do not share, and some of the
wordings are kept for validation, so that a model has to read rather than remember.
"""

import json
import os
import random
import re
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

from qa.storage import write_text

DemoSplit = Literal["train", "validation"]

PARAGRAPHS: dict[DemoSplit, int] = {"train": 260, "validation": 55}
QUESTIONS_PER_PARAGRAPH = 5
FACTS_PER_PARAGRAPH = 2  # besides the opening
SLOTS_PER_KIND = 6  # {town1} … {town6}
PLAIN_SHARE = 0.5  # of the choices that take the first wording, before the others get their chance
HELD_OUT_SHARE = 0.1  # of the choices in validation that have a wording of its own

# What can fill a slot, by kind: every way to take one string of each part.
SLOT_PARTS: dict[str, tuple[str, ...]] = {
    "first": ("Al|Bel|Cor|Dor|Fen|Gar|Hal|Jor|Kel|Lin|Nor|Per|Ros|Sel|Tam|Wil|Zan", "ina|essa|ora|ric|omir|eth|ivar"),
    "last": ("Ab|Brask|Crad|Dren|Elst|Forn|Grim|Hask|Jarn|Kest|Lund|Mosk|Nask|Orb|Rusk|Stav", "er|ow|ley|en|all|itz"),
    "town": ("Arl|Brem|Cald|Dorn|Eld|Fenn|Gell|Hest|Ink|Jeld|Kirn|Mist|Nedd|Oss|Pell|Stam", "brook|bury|fell|ham|wick"),
    "river": ("Av|Bed|Ced|Dar|Em|Fal|Gren|Hul|Ist|Lud|Mer|Nem", "enna|ora|ule|isk|ane"),
    "ship": ("Morning|Silver|Northern|Crimson|Patient|Restless", " Heron| Petrel| Lantern| Anchor| Gull| Harvest"),
    "job": (
        "baker|barber|botanist|chemist|clockmaker|dentist|fisherman|gardener|geologist|glazier|judge|lawyer|locksmith|"
        "miner|nurse|painter|pharmacist|potter|printer|saddler|sailor|shepherd|surgeon|tailor|teacher|weaver",
    ),
    "material": (
        "basalt|brass|brick|bronze|cedar|cement|concrete|copper|elm|granite|iron|larch|limestone|maple|marble|oak|pine|"
        "sandstone|slate|steel|teak|tin|walnut|zinc",
    ),
    "thing": ("a clay|a carved|a gilded|a painted|a silver|a wooden", " bell| chess set| drum| flute| globe| mask"),
    "food": ("dried|fried|pickled|roasted|smoked|stewed", " apples| beans| carrots| eel| leeks| mushrooms| plums"),
    "reason": (
        "the banker|the cashier|the chairman|the inspector|the landlord|the mayor|the owner|the treasurer|the watchman",
        " had fallen ill| had resigned| had lost the keys| refused to sign| wanted more money| feared a fire",
    ),
    "number": ("2|3|4|5|6|7|8|9", "1|2|3|4|5|6|7|8|9"),
    "amount": ("1|2|3|4|5|6|7|8|9", ",", "1|2|3|4|5|6|7|8|9", "00|50", " crowns"),
    "year": ("18|19", "0|1|2|3|4|5|6|7|8|9", "0|1|2|3|4|5|6|7|8|9"),
}

TOPICS = Path(__file__).with_name("demo_topics.txt")
WORDINGS = re.compile(r"\[([^\[\]]*)\]")
# what a reader may also answer, accepted in validation where the context has it
LONGER_ANSWERS = {"year": "in {}", "reason": "because {}"}


class SlotValue(str):
    """A slot's text, with the forms that templates ask for: {person1.last} and {person1.her}."""

    @property
    def last(self) -> str:
        return self.split()[-1]

    @property
    def her(self) -> str:
        return "her" if self.split()[0].endswith("a") else "his"


class Fact(NamedTuple):
    """A line of text and its questions, each behind the name of the slot that answers it; all are templates."""

    text: str
    questions: list[tuple[str, str]]


def topics() -> dict[str, list[Fact]]:
    """The facts of every topic by its title, a template too.

    TOPICS has for each a line with the title, then facts, the opening first: a line of text and its questions, each
    after the slot that answers it. [a|b|*c] is a choice; a starred wording occurs in validation only. Years rise with
    their number.
    """
    facts_by_title = {}
    for block in TOPICS.read_text(encoding="utf-8").strip().split("\n\n"):
        title, *lines = block.split("\n")
        facts: list[Fact] = []
        for line in lines:
            if line.startswith(" "):
                slot, question = line.strip().split(": ", 1)
                facts[-1].questions.append((slot, question))
            else:
                facts.append(Fact(line, []))
        facts_by_title[title] = facts
    return facts_by_title


def entities(split: DemoSplit, seed: int = 42) -> dict[str, list[str]]:
    """The texts that may fill a slot in this split, by kind; the splits share none."""
    rng = random.Random(seed)
    pools = {}
    for kind, parts in SLOT_PARTS.items():
        pool = ["".join(strings) for strings in product(*(part.split("|") for part in parts))]
        rng.shuffle(pool)
        cut = len(pool) * 3 // 4
        pools[kind] = pool[:cut] if split == "train" else pool[cut:]
    pools["year"].sort()
    return pools


def cast(pools: dict[str, list[str]], rng: random.Random) -> dict[str, SlotValue]:
    """The entities of one paragraph by slot, all of a kind different."""
    drawn = {kind: rng.sample(pool, SLOTS_PER_KIND) for kind, pool in pools.items()}
    drawn["person"] = [f"{first} {last}" for first, last in zip(drawn.pop("first"), drawn.pop("last"), strict=True)]
    # years of one story lie within about forty of each other
    near = len(pools["year"]) // 8
    begin = rng.randrange(len(pools["year"]) - near)
    drawn["year"] = sorted(rng.sample(pools["year"][begin : begin + near], SLOTS_PER_KIND))
    return {f"{kind}{i}": SlotValue(value) for kind, values in drawn.items() for i, value in enumerate(values, 1)}


def choose_wordings(template: str, split: DemoSplit, rng: random.Random) -> str:
    """The template with every [choice] made, inner ones first."""
    while match := WORDINGS.search(template):
        wordings = match[1].split("|")
        shared = [wording for wording in wordings if not wording.startswith("*")]
        held_out = [wording[1:] for wording in wordings if wording.startswith("*")]
        if held_out and split == "validation" and rng.random() < HELD_OUT_SHARE:
            chosen = rng.choice(held_out)
        else:
            chosen = shared[0] if rng.random() < PLAIN_SHARE else rng.choice(shared)
        template = template[: match.start()] + chosen + template[match.end() :]
    return template


def reference_answers(slot: str, text: str, context: str, split: DemoSplit) -> list[dict[str, Any]]:
    """The reference answers: the entity itself and, in validation, its longer form where the context has it."""
    texts = [text]
    if split == "validation" and (kind := slot[:-1]) in LONGER_ANSWERS:
        texts.append(LONGER_ANSWERS[kind].format(text))
    # whole words only: 19 must not be found within 1908; a sentence may begin with the answer
    places = [re.search(rf"\b{re.escape(text)}\b", context, re.IGNORECASE) for text in texts]
    return [{"text": place[0], "answer_start": place.start()} for place in places if place]


def article(
    title: str, facts: list[Fact], split: DemoSplit, pools: dict[str, list[str]], rng: random.Random
) -> dict[str, Any]:
    """A SQuAD article of one paragraph; its questions have no ids yet."""
    names = cast(pools, rng)
    told = [facts[0], *rng.sample(facts[1:], FACTS_PER_PARAGRAPH)]
    context = " ".join(choose_wordings(fact.text, split, rng).format(**names) for fact in told)
    asked = rng.sample([question for fact in told for question in fact.questions], QUESTIONS_PER_PARAGRAPH)
    qas = [
        {
            "question": choose_wordings(question, split, rng).format(**names),
            "answers": reference_answers(slot, names[slot], context, split),
        }
        for slot, question in asked
    ]
    return {"title": title.format(**names), "paragraphs": [{"context": context, "qas": qas}]}


def corpus(split: DemoSplit, seed: int = 42) -> dict[str, Any]:
    """A split as SQuAD v1.1 JSON, the topics taking turns; ids are `<split>-<six digits>` in file order."""
    rng = random.Random(f"{split} {seed}")
    pools = entities(split, seed)
    told = list(topics().items())
    data = [article(*told[i % len(told)], split, pools, rng) for i in range(PARAGRAPHS[split])]
    for number, qa in enumerate(qa for entry in data for qa in entry["paragraphs"][0]["qas"]):
        qa["id"] = f"{split}-{number:06d}"
    return {"version": "1.1", "data": data}


def write_demo(folder: Path, seed: int = 42) -> tuple[Path, Path]:
    """Writes `train.json` and `validation.json` in SQuAD v1.1 format into the folder and returns their paths.

    The bytes depend on the seed alone. Several processes may write the same folder at once. Raises OSError where the
    folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "train.json", folder / "validation.json"
    for path, split in zip(paths, PARAGRAPHS, strict=True):
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        write_text(temporary, json.dumps(corpus(split, seed), ensure_ascii=False, indent=1) + "\n")
        temporary.replace(path)
    return paths
