// Study: the questions of a file, one at a time; the learner answers, then sees how right that was.

import { post, upload } from "./api.js";
import { asked, ownCards } from "./ask.js";
import { afterAnswer, dueIds, moved, perBox, readProgress, stateOf } from "./boxes.js";
import { bdi, button, byId, counted, make, onFiles, onSubmit, percent, save, tell } from "./dom.js";
import { occurrences, toUnits } from "./places.js";
import { Reader } from "./reader.js";
import { put, rows, watch } from "./store.js";
import { SAMPLE } from "./texts.js";

const SAMPLE_DECK = {
  id: "Sample", contexts: [SAMPLE],
  questions: [
    ["Who founded the mill?", "Anna Kern"], ["When was the mill founded?", "1912"], ["Who sold the mill?", "Paul", "Her son Paul"],
    ["On which river does the mill stand?", "Wend", "the river Wend"], ["What did the mill cost?"],
  ].map(([question, ...answers]) => ({ id: "", question, answers, context: 0, language: null })),
};

const deck = { name: "", questions: new Map(), progress: {}, queue: [] };
const reader = new Reader(byId("study-reader"));
let isGraded = false;

/** What progress is kept by: files that number their questions alike share no boxes. */
const keyOf = ({ id, question }) => `${id} ${question}`;

export function startStudy() {
  const status = byId("study-status");
  onFiles("study-file", ([file]) => loadQuestions(file));
  onFiles("import", ([file]) => tell(status, () => importProgress(file)));
  onSubmit("study-form", "study-status", () => (isGraded ? next() : gradeGiven()));
  byId("study-sample").addEventListener("click", () => tell(status, () => begin(SAMPLE_DECK)));
  byId("study-own").addEventListener("click", () => tell(status, studyOwn));
  byId("show-text").addEventListener("click", showText);
  byId("given-none").addEventListener("click", () => tell(status, () => grade("")));
  byId("export").addEventListener("click", exportProgress);
  document.addEventListener("selectionchange", () => {
    const place = isGraded ? null : reader.selection();
    if (place) byId("given").value = reader.text.slice(place.start, place.end);
  });
  watch("decks", drawDecks);
  watch("boxes", reloadProgress);
  return continueLatest();
}

/** Opens the deck that was studied last, in this tab or on another day. */
async function continueLatest() {
  const [latest] = (await rows("decks")).sort((one, other) => other.used - one.used);
  if (latest) await begin(latest);
}

async function drawDecks() {
  const others = (await rows("decks")).filter(({ id }) => id !== deck.name);
  byId("decks-title").hidden = !others.length;
  byId("decks").replaceChildren(...others.map((other) =>
    make("li", {}, button(bdi(other.id), () => tell(byId("study-status"), () => begin(other)), { className: "name" })),
  ));
}

/** Cards of what was asked: with the answers that were corrected, else with the model's. */
async function studyOwn() {
  const cards = ownCards();
  if (!cards.length) throw new Error("Ask a text some questions first.");
  const contexts = [...new Set(cards.map(({ context }) => context))];
  const questions = cards.map((card) => ({ ...card, id: "", context: contexts.indexOf(card.context), language: null }));
  await begin({ id: "Your questions", questions, contexts });
  const unchecked = cards.filter(({ isChecked }) => !isChecked).length;
  byId("study-bad").textContent = unchecked ? `${counted(unchecked, "answer")} of the model, which you did not check.` : "";
}

export function loadQuestions(file) {
  if (!file) return undefined;
  return tell(byId("study-status"), async () => {
    byId("study-status").textContent = `Reading ${file.name} …`;
    const { questions, contexts, bad, messages } = await upload("/questions", file);
    byId("study-status").textContent = "";
    if (!questions.length) throw new Error(`${file.name}: has no questions. ${messages[0] ?? ""}`);
    await begin({ id: file.name, questions, contexts });
    byId("study-bad").textContent = bad ? `${counted(bad, "question")} cannot be used. ${messages[0] ?? ""}` : "";
  });
}

async function begin({ id, questions, contexts }) {
  deck.progress = await progressOf(id);
  deck.name = id;
  byId("study-bad").textContent = "";
  byId("study-kinds").hidden = true;
  deck.questions = new Map(questions.map((one) => [keyOf(one), { ...one, context: contexts[one.context] }]));
  put("decks", { id, questions, contexts, used: Date.now() }).then(drawDecks);
  start();
}

/** {key of a question: its box and when it is due}. */
async function progressOf(name) {
  const own = (await rows("boxes")).filter((row) => row.deck === name);
  return Object.fromEntries(own.map(({ key, box, due }) => [key, { box, due }]));
}

async function reloadProgress() {
  const { name } = deck;
  const progress = await progressOf(name);
  if (deck.name === name) deck.progress = progress;
  drawBoxes();
}

const keepBox = (key) => put("boxes", { id: `${deck.name}\n${key}`, deck: deck.name, key, ...deck.progress[key] });

function start() {
  deck.queue = dueIds([...deck.questions.keys()], deck.progress, Date.now());
  byId("study-deck").hidden = false;
  byId("study-name").textContent = `${deck.name}: ${counted(deck.questions.size, "question")}`;
  next();
}

function next() {
  deck.queue = dueIds(deck.queue, deck.progress, Date.now()); // another tab may have asked some
  const question = deck.questions.get(deck.queue[0]);
  isGraded = false;
  drawBoxes();
  byId("study-card").hidden = !question;
  byId("study-done").hidden = Boolean(question);
  byId("result").replaceChildren();
  if (!question) return showDone();
  byId("study-question").textContent = question.question;
  byId("given").value = "";
  byId("given").readOnly = false;
  byId("given-none").hidden = false;
  byId("check").textContent = "Check";
  reader.show(question.context);
  byId("study-reader").hidden = true;
  byId("show-text").hidden = !question.context;
  byId("given").focus({ preventScroll: true });
  return byId("study-card").scrollIntoView({ block: "nearest" });
}

function showText() {
  byId("study-reader").hidden = !reader.text;
  byId("show-text").hidden = true;
}

function showDone() {
  const due = [...deck.questions.keys()].map((key) => stateOf(deck.progress, key).due);
  const day = new Date(due.reduce((one, other) => Math.min(one, other))).toLocaleDateString("en", { weekday: "long", day: "numeric", month: "long" });
  byId("study-done").textContent = `Nothing is due now. The next question is due on ${day}.`;
  byId("study-done").focus();
}

function gradeGiven() {
  const given = byId("given").value.trim();
  if (!given) throw new Error("Type or select an answer first.");
  return grade(given);
}

async function grade(given) {
  const id = deck.queue[0];
  const question = deck.questions.get(id);
  const { exact_match: isRight, f1 } = await post("/grade", { given, answers: question.answers });
  if (isGraded || deck.queue[0] !== id) return;
  isGraded = true;
  deck.progress[id] = moved(stateOf(deck.progress, id), isRight, Date.now());
  deck.queue = afterAnswer(deck.queue, isRight);
  keepBox(id);
  drawBoxes();
  drawResult(question, isRight, f1, deck.progress[id].box);
  await drawModel(question);
}

function drawResult({ context, answers }, isRight, f1, box) {
  byId("given").readOnly = true;
  byId("given-none").hidden = true;
  byId("check").textContent = "Next question";
  const wrong = `${f1 ? `Not quite: ${Math.round(f1)}% of the words are right` : "Wrong"}. It goes to box 1 and returns soon.`;
  const verdict = isRight ? `Right. It goes to box ${box}.` : wrong;
  showText();
  const expected = [...new Set(answers)].join(" / ") || "no answer in this text";
  byId("result").replaceChildren(
    make("p", { className: `found ${isRight ? "is-right" : "is-wrong"}` }, verdict),
    make("p", {}, "Right answer: ", make("mark", { className: "right", dir: "auto" }, expected)),
  );
  reader.mark(references(context, answers));
}

/** Where a reference answer stands, taken as the first place with its words. */
function references(context, answers) {
  return answers.flatMap((words) => occurrences(context, words).slice(0, 1)).map((place) => ({ ...place, kind: "right" }));
}

async function drawModel(card) {
  const { question, context, answers } = card;
  if (!context) return; // cards of Anki and the like have none
  const language = asked.model?.languages.includes(card.language) ? card.language : null;
  const { answers: [said] } = await post("/answer", { question, context, language, options: { whole_words: true } });
  if (!isGraded || byId("study-question").textContent !== question || deck.questions.get(keyOf(card)) !== card) return;
  const words = make("p", {}, "The model says: ", make("mark", { dir: "auto" }, said.text || "no answer in this text"));
  if (asked.model?.calibrated) words.append(` (${percent(said.probability)})`);
  byId("result").append(words, ...(said.warning ? [make("p", { className: "quiet" }, said.warning)] : []));
  const place = { start: toUnits(context, said.start), end: toUnits(context, said.end), kind: "answer" };
  reader.mark([...references(context, answers), ...(said.text ? [place] : [])]);
}

function drawBoxes() {
  const now = Date.now();
  const boxes = perBox([...deck.questions.keys()], deck.progress, now);
  byId("boxes").replaceChildren(...boxes.map(({ box, questions, due }) => make(
    "tr", {}, make("th", { scope: "row" }, `Box ${box}`), make("td", {}, `${questions}`), make("td", {}, `${due}`),
  )));
  const due = boxes.reduce((sum, box) => sum + box.due, 0);
  byId("due").textContent = `${counted(due, "question")} due now`;
}

function exportProgress() {
  save(`${deck.name}.progress.json`, JSON.stringify({ file: deck.name, boxes: deck.progress }));
}

async function importProgress(file) {
  try {
    deck.progress = { ...deck.progress, ...readProgress(await file.text(), Date.now()) };
  } catch {
    throw new Error(`${file.name}: is not a progress file of this page.`);
  }
  Object.keys(deck.progress).forEach(keepBox);
  start();
}
