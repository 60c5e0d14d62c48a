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
KINDS: dict[str, tuple[str, ...]] = {
    "first": ("Al|Bel|Cor|Dor|Fen|Gar|Hal|Jor|Kel|Lin|Nor|Per|Ros|Sel|Tam|Wil|Zan", "ina|essa|ora|ric|omir|eth|ivar"),
    "last": ("Ab|Brask|Crad|Dren|Elst|Forn|Grim|Hask|Jarn|Kest|Lund|Mosk|Nask|Orb|Rusk|Stav", "er|ow|ley|en|all|itz"),
    "town": ("Arl|Brem|Cald|Dorn|Eld|Fenn|Gell|Hest|Ink|Jeld|Kirn|Mist|Nedd|Oss|Pell|Stam", "brook|bury|fell|ham|wick"),
    "river": ("Av|Bed|Ced|Dar|Em|Fal|Gren|Hul|Ist|Lud|Mer|Nem", "enna|ora|ule|isk|ane"),
    "ship": (
        "Morning|Silver|Northern|Crimson|Patient|Restless",
        " Heron| Petrel| Lantern| Anchor| Gull| Harvest",
    ),
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

# Per topic a line with the title, then facts, the opening first: a line of text and its questions, each after the slot
# that answers it. [a|b|*c] is a choice; a starred wording occurs in validation only. Years rise with their number.
TOPICS = """\
{town1} Bridge
[{town1} Bridge was built by {person1}|{person1} built {town1} Bridge|*The world owes {town1} Bridge to {person1}] \
after {person2} had [failed|given up]; [it crosses the {river1} near the mouth of the {river2}|near the mouth of the \
{river2} it crosses the {river1}|*where the {river2} comes in, it spans the {river1}].
    person1: Who [built|put up|*constructed] {town1} Bridge?
    person2: Who [failed before|did not succeed|*had tried in vain]?
    river1: [Which|What] river does the bridge [cross|lead over|*carry people across]?
    river2: Which river [has its mouth|flows out|*meets the other one] near the bridge?
[Work began in {year1} and ended in {year3}|Finished in {year3}, it had been begun in {year1}|*The works lasted until \
{year3}, having started in {year1}], [although|*but] the first carts crossed in {year2}.
    year1: When did [work begin|the builders start|*construction commence]?
    year2: When did [carts first cross|the first carts go over|*wheels first roll across] the bridge?
    year3: When [did work end|was the bridge completed|*was the bridge ready]?
[Its piers are of {material1} and its deck is of {material2}|Its deck, of {material2}, rests on piers of {material1}|\
*For the deck they chose {material2}, and {material1} for the piers].
    material1: What [are the piers made of|were the piers built from|*do the supports consist of]?
    material2: What [is the deck made of|was used for the deck|*do people tread on when they cross]?
{person3}, a {job1}, and {person4}, a {job2}, [ran the works|shared the work|*took turns as foremen]; [the former \
retired to {town2}, the latter to {town3}|the latter retired to {town3}, the former to {town2}|*of the two, the \
{job2} retired to {town3} and the {job1} to {town2}].
    town2: Where did {person3} [retire|go in the end|*spend old age]?
    town3: Where did the {job2} [retire|go in the end|*spend old age]?
    person4: Who [retired to|went to live in|*ended up in] {town3}?

Expeditions from {town1}
[{person1} led the first expedition out of {town1} and {person2} the second|The second expedition out of {town1} was \
led by {person2}, the first by {person1}|*Two expeditions left {town1}: {person2} headed the second and {person1} the \
first].
    person1: Who [led|commanded|*was in charge of] the [first|earlier] expedition?
    person2: Who [led|commanded|*was in charge of] the [second|later] expedition?
[{person1.last} set out in {year1} and came home in {year2}, but {person1.her} successor did not leave until {year3}|\
{person1.last}'s successor left in {year3}, while {person1.last} had set out in {year1} and come home in {year2}|\
*{person1.last} was home in {year2} after a start in {year1}, and {year3} saw the next leader go].
    year1: When did {person1} [set out|leave|*depart]?
    year2: When did {person1} [come home|return|*get back]?
    year3: When did {person2} [set out|leave|*depart]?
[{person1.last} took {number1} dogs and {number2} porters|With {person1.last} went {number2} porters and {number1} \
dogs|*There were {number1} dogs and {number2} porters in the party of {person1.last}]; {person2.last} [took|had] \
{number3} dogs.
    number1: How many dogs did {person1} [take|have|*travel with]?
    number2: How many porters [did {person1} take|were there|*carried the loads]?
    number3: How many dogs [were with {person2}|did the second expedition take|*did the later party have]?
[The first party turned back because {reason1}, the second because {reason2}|The second party turned back because \
{reason2}, the first because {reason1}|*{person2.last} gave up because {reason2}, {person1.last} because {reason1}].
    reason1: Why did [the first party|{person1}] [turn back|not go on|*abandon the journey]?
    reason2: Why did [the second party|{person2}] [turn back|not go on|*abandon the journey]?

{town1} Museum
[{town1} Museum was founded by {person1}, a {job1}, and is now run by {person2}, a {job2}|{person2}, a {job2}, runs \
{town1} Museum, which {person1}, a {job1}, founded|*Today {town1} Museum, the creation of {person1}, a {job1}, is in \
the hands of {person2}, a {job2}].
    person1: Who [founded|started|*set up] the museum?
    person2: Who [runs the museum|is the director now|*is in charge today]?
    job1: What [was {person1}'s trade|was the founder by trade|*did the founder do for a living]?
    job2: What is [{person2}'s trade|the present director by trade|*the profession of the person in charge]?
[Its oldest piece is {thing1} from {town2}, its best known {thing2} from {town3}|{town3} gave it its best known \
piece, {thing2}, and {town2} its oldest, {thing1}|*Nothing there is older than {thing1} from {town2} or more famous \
than {thing2} from {town3}].
    thing1: What is the [oldest piece|most ancient object|*earliest exhibit]?
    thing2: What is the [best known piece|most famous object|*chief attraction]?
    town2: Where [is the oldest piece from|did they find the oldest piece|*did the most ancient object turn up]?
    town3: Where is the [best known piece|most famous object|*star exhibit] from?
[Thieves took {thing3} in {year1} but overlooked {thing4}; new locks were fitted in {year2}|New locks were fitted in \
{year2}, for thieves had taken {thing3} in {year1} but overlooked {thing4}|*It lost {thing3} to thieves in {year1}, \
though not {thing4}, and bought better locks in {year2}].
    thing3: What [did thieves take|was stolen|*disappeared from the collection]?
    thing4: What did the thieves [overlook|not see|*leave behind]?
    year1: When did [thieves come|the theft happen|*the museum suffer a robbery]?
    year2: When [were new locks fitted|did the museum change its locks|*did security become better]?
[{person3} left the museum {amount1}, and {person4} gave {amount2} for the roof|For the roof {person4} gave \
{amount2}, and {person3} left the museum {amount1}|*The museum inherited {amount1} from {person3}, while a gift of \
{amount2} from {person4} went into the roof].
    person4: Who [gave money for the roof|paid for the roof|*made the repair of the building possible]?
    amount1: How much did {person3} [leave to the museum|leave|*have for the museum in the end]?
    amount2: How much [did {person4} give|was given for the roof|*went into the roof]?

{town1} Rovers
{town1} Rovers won the cup [in {year1} under {person1} and lost it in {year2} under {person2}|under {person1} in \
{year1} and lost it under {person2} in {year2}|*when {person1} was coach, in {year1}, and had to give it up in \
{year2}, with {person2}].
    person1: Who was the coach when the club [won the cup|took the cup|*had its triumph]?
    person2: Who was the coach when the club [lost the cup|lost|*was beaten]?
    year1: When did {town1} Rovers [win the cup|take the cup|*have their triumph]?
    year2: When did the club [lose the cup|lose|*part with its trophy]?
[{person3} scored {number1} goals and {person4} {number2}|With {number2} goals {person4} stood beside {person3}, who \
had {number1}|*Of the goals, {number1} came from {person3} and {number2} from {person4}]; [{person4.last} was sold to \
{town2} and {person3.last} to {town3}|{person3.last} was sold to {town3} and {person4.last} to {town2}].
    number1: How many goals did {person3} [score|get|*contribute]?
    number2: How many goals did the player [who was sold to|who went to|*whom they let go to] {town2} score?
    town3: [Where|To which town] was {person3} sold?
    person4: Who [was sold|went|*changed clubs and went] to {town2}?
[The final was moved because {reason1}, and the semi-final because {reason2}|The semi-final was moved because \
{reason2}, and the final because {reason1}|*Because {reason2} there was a new date for the semi-final, and because \
{reason1} one for the final].
    reason1: Why was the final [moved|held on another day|*not played when it should have been]?
    reason2: Why was the semi-final [moved|held on another day|*not played when it should have been]?
[{person5} kept goal and worked as a {job1}; the captain, {person6}, was a {job2}|The captain, {person6}, was a \
{job2}, and {person5}, who kept goal, a {job1}|*A {job1}, {person5}, stood between the posts, and a {job2}, \
{person6}, led the team].
    person5: Who [kept goal|was the goalkeeper|*had to stop the shots]?
    person6: Who [was the captain|captained the team|*was at the head of the team]?
    job1: What was the [goalkeeper by trade|trade of the goalkeeper|*keeper's other work]?
    job2: What [was the captain by trade|did the captain work as|*occupation did {person6} have]?

{ship1}
[The {ship1} was launched at {town1} in {year1}, and her sister, the {ship2}, at {town2} in {year2}|Her sister, the \
{ship2}, left the yard at {town2} in {year2}, but the {ship1} was launched at {town1} in {year1}|*{town1} built the \
{ship1}, which first felt water in {year1}; the {ship2}, her sister, is from {town2} and from {year2}].
    town1: Where was the {ship1} [launched|built|*made]?
    town2: Where was her sister [launched|built|*made]?
    year1: When was the {ship1} [launched|finished|*first afloat]?
    year2: When was the {ship2} [launched|finished|*first afloat]?
[{person1} was her first captain; {person2}, who had been a {job1}, came next|Her first captain was {person1}, and \
the next, {person2}, had been a {job1}|*{person2}, once a {job1}, took her over from {person1}], [and the {job2} \
{person3} was the last|while the last was {person3}, a {job2}].
    person1: Who was the first [captain|to command the ship|*person in charge on board]?
    person2: Who [was the next captain|followed {person1}|*had the ship after {person1}]?
    person3: Who was the last [captain|to command the ship|*person in charge on board]?
    job1: What had {person1}'s successor [been|worked as|*done for a living] before?
[Outward bound she carried {food1} to {town3}, homeward bound {food2} from {town4}|From {town4} she brought {food2} \
home, having carried {food1} out to {town3}|*{town3} received {food1} from her, and at {town4} she filled up with \
{food2} for the way home].
    food1: What did she carry [to {town3}|on the way out|*when she left home]?
    food2: What did she carry [homeward bound|from {town4}|*when she came back]?
    town4: Where did the [{food2} come from|cargo for the way home come from|*homeward cargo come on board]?
[She was sold because {reason1}, and the {ship2} because {reason2}|The {ship2} was sold because {reason2}, she \
herself because {reason1}|*Because {reason2} the {ship2} found a buyer, and she herself because {reason1}].
    reason1: Why was the {ship1} [sold|given away|*no longer wanted by her owners]?
    reason2: Why was [her sister|the {ship2}] [sold|given away|*no longer wanted by her owners]?
"""
CHOICE = re.compile(r"\[([^\[\]]*)\]")
# what a reader may also answer, accepted in validation where the context has it
LONGER_ANSWERS = {"year": "in {}", "reason": "because {}"}


class Value(str):
    """What fills a slot, with the forms that templates ask for: {person1.last} and {person1.her}."""

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
    """The facts of every topic by its title, a template too; the first fact is the opening."""
    found = {}
    for block in TOPICS.strip().split("\n\n"):
        title, *lines = block.split("\n")
        facts: list[Fact] = []
        for line in lines:
            if line.startswith(" "):
                slot, question = line.strip().split(": ", 1)
                facts[-1].questions.append((slot, question))
            else:
                facts.append(Fact(line, []))
        found[title] = facts
    return found


def entities(split: DemoSplit, seed: int = 42) -> dict[str, list[str]]:
    """All that may fill a slot in this split, by kind; nothing is in both splits."""
    rng = random.Random(seed)
    pools = {}
    for kind, parts in KINDS.items():
        pool = ["".join(strings) for strings in product(*(part.split("|") for part in parts))]
        rng.shuffle(pool)
        cut = len(pool) * 3 // 4
        pools[kind] = pool[:cut] if split == "train" else pool[cut:]
    pools["year"].sort()
    return pools


def cast(pools: dict[str, list[str]], rng: random.Random) -> dict[str, Value]:
    """The entities of one paragraph by slot, all of a kind different."""
    drawn = {kind: rng.sample(pool, SLOTS_PER_KIND) for kind, pool in pools.items()}
    drawn["person"] = [f"{first} {last}" for first, last in zip(drawn.pop("first"), drawn.pop("last"), strict=True)]
    # years of one story lie within about forty of each other
    near = len(pools["year"]) // 8
    begin = rng.randrange(len(pools["year"]) - near)
    drawn["year"] = sorted(rng.sample(pools["year"][begin : begin + near], SLOTS_PER_KIND))
    return {f"{kind}{i}": Value(value) for kind, values in drawn.items() for i, value in enumerate(values, 1)}


def choose(template: str, split: DemoSplit, rng: random.Random) -> str:
    """The template with every [choice] made, inner ones first."""
    while found := CHOICE.search(template):
        wordings = found[1].split("|")
        shared = [wording for wording in wordings if not wording.startswith("*")]
        held_out = [wording[1:] for wording in wordings if wording.startswith("*")]
        if held_out and split == "validation" and rng.random() < HELD_OUT_SHARE:
            chosen = rng.choice(held_out)
        else:
            chosen = shared[0] if rng.random() < PLAIN_SHARE else rng.choice(shared)
        template = template[: found.start()] + chosen + template[found.end() :]
    return template


def answers(slot: str, text: str, context: str, split: DemoSplit) -> list[dict[str, Any]]:
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
    context = " ".join(choose(fact.text, split, rng).format(**names) for fact in told)
    asked = rng.sample([question for fact in told for question in fact.questions], QUESTIONS_PER_PARAGRAPH)
    qas = [
        {
            "question": choose(question, split, rng).format(**names),
            "answers": answers(slot, names[slot], context, split),
        }
        for slot, question in asked
    ]
    return {"title": title.format(**names), "paragraphs": [{"context": context, "qas": qas}]}


def corpus(split: DemoSplit, seed: int = 42) -> dict[str, Any]:
    """One split as SQuAD v1.1 JSON, the topics taking turns; ids are `<split>-<six digits>` in file order."""
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
    splits: tuple[DemoSplit, DemoSplit] = ("train", "validation")
    for path, split in zip(paths, splits, strict=True):
        own = path.with_name(f"{path.name}.{os.getpid()}")
        write_text(own, json.dumps(corpus(split, seed), ensure_ascii=False, indent=1) + "\n")
        own.replace(path)
    return paths
