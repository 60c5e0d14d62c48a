// Asking: the form, the progress of a long text, the answer, and the history.

import { stream } from "./api.js";
import { bdi, button, byId, isSure, make, meaning, onSubmit, percent, tell } from "./dom.js";
import { passageAround, sentenceAround, toUnits } from "./places.js";
import { newId, put, rows, watch } from "./store.js";
import { library, showPlaces } from "./texts.js";

const CANDIDATES = 5;
const PATIENCE = 300; // milliseconds before the progress is shown

export const asked = { model: null, last: null, onAnswer: () => {}, undo: () => {} };
const NARROW = matchMedia("(max-width: 52rem)"); // as in page.css: the text is below the answer
let running = null;
let history = []; // oldest first

export function startAsking() {
  onSubmit("ask", "ask-status", ask);
  byId("stop").addEventListener("click", () => running?.abort());
  watch("history", drawHistory);
  return drawHistory();
}

/** The choices of where to ask, as the texts and the last answer allow. */
export function drawScopes() {
  const count = library.texts.length;
  const isOne = count < 2;
  byId("all-words").textContent = ["the text", "the text", "both texts"][count] ?? `all ${count} texts`;
  byId("this-scope").hidden = isOne;
  byId("some-read").hidden = !(count > asked.model?.read_texts);
  const near = byId("near");
  near.parentElement.hidden = !lastPlace();
  if ((!lastPlace() && near.checked) || (isOne && byId("this").checked)) byId("all").checked = true;
}

function lastPlace() {
  const place = shownPlace(asked.last);
  return place?.text.text ? place : null;
}

/** The passages to ask in, [{text, start, end}]. */
function scope() {
  if (byId("near").checked) {
    const place = lastPlace();
    return [{ text: place.text, ...passageAround(place.text.text, place) }];
  }
  const texts = byId("this").checked ? [library.shown] : library.texts;
  return texts.map((text) => ({ text, start: 0, end: text.text.length }));
}

async function ask() {
  const question = byId("question").value.trim();
  if (!library.texts.length) throw new Error("Add a text first.");
  if (!question) throw new Error("Type a question first.");
  running?.abort();
  const stopper = new AbortController();
  running = stopper;
  const passages = scope();
  if (byId("max-error").value && (passages.length > 1 || byId("near").checked)) {
    throw new Error("How many answers are wrong is known for one whole text alone. Look in this text, or allow any number.");
  }
  const timer = setTimeout(() => showProgress({}), PATIENCE);
  try {
    const context = passages.map(({ text, start, end }) => text.text.slice(start, end));
    const language = byId("language").value || null;
    const maxError = Number(byId("max-error").value) || null; // a promise for answers as they are, not for whole words
    const body = { question, context, language, options: { top_k: CANDIDATES, whole_words: !maxError, max_error: maxError } };
    for await (const line of stream("/answer/stream", body, stopper.signal)) {
      if (stopper.signal.aborted) return;
      if (line.final) remember({ ...entryOf(question, passages, line.answer), maxError });
      else showProgress(line);
    }
  } catch (error) {
    if (error.name === "AbortError" && running === stopper) throw new Error("Stopped.");
    throw error;
  } finally {
    clearTimeout(timer);
    if (running === stopper) byId("progress").hidden = true;
  }
}

function showProgress({ done, windows, answer }) {
  const bar = byId("bar");
  byId("progress").hidden = false;
  if (windows) Object.assign(bar, { max: windows, value: done });
  else bar.removeAttribute("value");
  byId("bar-words").textContent = windows ? `${percent(done / windows)} read` : "Reading …";
  const soFar = answer?.text ? `So far: ${answer.text}` : "";
  if (byId("so-far").textContent !== soFar) byId("so-far").textContent = soFar;
}

function entryOf(question, passages, answer) {
  const byProbability = answer.alternatives.toSorted((one, other) => other.probability - one.probability);
  const candidates = (answer.text ? [answer, ...byProbability] : byProbability).map((one) =>
    placed(one, passages[one.context_index]),
  );
  const corrected = history.filter((one) => one.corrected && plain(one.question) === plain(question));
  const isAsked = ({ corrected: { text: id } }) => passages.some(({ text }) => text.id === id);
  const before = corrected.findLast(isAsked) ?? corrected.at(-1);
  const shown = answer.text ? 0 : null;
  return { id: newId(), question, texts: passages.length, answer, candidates, shown, corrected: before?.corrected };
}

/** A question as it is compared with others. */
const plain = (question) => question.toLowerCase().replace(/[\s\p{P}]+/gu, " ").trim();

function placed({ text: words, start, end, probability }, passage) {
  const context = passage.text.text.slice(passage.start, passage.end);
  return {
    words, probability, text: { id: passage.text.id, name: passage.text.name },
    start: passage.start + toUnits(context, start), end: passage.start + toUnits(context, end),
  };
}

function remember(entry) {
  put("history", entry).then(drawHistory);
  byId("question").select();
  reveal(entry, entry.shown);
  byId("answer-section").scrollIntoView({ block: NARROW.matches ? "start" : "nearest" });
}

/** Draws what was asked before, also in other tabs and on other days. */
async function drawHistory() {
  history = await rows("history");
  byId("history").replaceChildren(...history.toReversed().map(historyRow));
  byId("history-section").hidden = !history.length;
}

function historyRow(entry) {
  const again = () => {
    reveal(entry, entry.shown);
    byId("reader").scrollIntoView({ block: "nearest" });
  };
  const name = button(bdi(entry.question), again, { className: "name" });
  return make("li", {}, name, make("span", { className: "quiet" }, ...summary(entry)));
}

function summary({ answer, candidates: [best], corrected }) {
  if (corrected) {
    const where = library.texts.every(({ id }) => id === corrected.text) ? [] : [", in ", bdi(nameNow({ ...corrected, id: corrected.text }))];
    return ["corrected by you: ", corrected.words ? bdi(corrected.words) : "no answer", ...where];
  }
  return answer.text ? [bdi(answer.text), ` (${percent(answer.probability)}`, ...inText(best.text), ")"] : ["no answer"];
}

const inText = (text) => (library.texts.length > 1 ? [", in ", bdi(nameNow(text))] : []);

/** A text's name, which may have changed since it was asked. */
const nameNow = ({ id, name }) => library.texts.find((text) => text.id === id)?.name ?? name;

/** Keeps with a question what somebody says is right in a text: {id, words, text, name}, no words where nothing is. */
export function keepCorrection(entry, corrected) {
  entry.corrected = corrected;
  put("history", entry).then(drawHistory);
  if (asked.last === entry) drawAnswer(entry);
}

/** What was asked of texts that are still here, the last answer of each question: [{question, context, answers, isChecked}]. */
export function ownCards() {
  const cards = new Map();
  for (const { question, answer, candidates: [best], corrected } of history) {
    const words = corrected ? corrected.words : answer.text;
    const text = library.texts.find(({ id }) => id === (corrected?.text ?? best?.text.id));
    if (!text || !(words || corrected)) continue;
    cards.set(plain(question), { question, context: text.text, answers: words ? [words] : [], isChecked: Boolean(corrected) });
  }
  return [...cards.values()];
}

/** Forgets a correction wherever it is shown. */
export function dropCorrection(id) {
  for (const entry of [...history, asked.last]) {
    if (entry?.corrected?.id === id) keepCorrection(entry, undefined);
  }
}

/** The candidate that is shown, with its text where that is still here; null where none is. */
function shownPlace(entry) {
  const place = entry?.candidates[entry.shown];
  return place ? { ...place, text: library.texts.find(({ id }) => id === place.text.id) ?? place.text } : null;
}

function drawAnswer(entry) {
  const place = shownPlace(entry);
  byId("answer-section").hidden = false;
  const question = make("p", { className: "quiet", dir: "auto" }, entry.question);
  byId("answer").replaceChildren(question, ...correction(entry), ...warning(entry), ...(place ? foundWords(place, entry.texts) : noneWords(entry)));
}

function correction(entry) {
  if (!entry.corrected) return [];
  const undo = button("Undo", () => tell(byId("ask-status"), () => asked.undo(entry.corrected.id)), { className: "small" });
  return [make("p", { className: "corrected" }, ...summary(entry), " ", undo)];
}

/** That the text of an answer is unlike those by which percentages are known. */
const warning = ({ answer }) => (answer.warning ? [make("p", { className: "notice" }, answer.warning)] : []);

/** Shows an entry of the history, with one of its candidates or none. */
function reveal(entry, shown) {
  entry.shown = shown;
  asked.last = entry;
  const place = shownPlace(entry);
  drawAnswer(entry);
  drawCandidates(entry);
  if (place?.text.text) {
    showPlaces(place.text, [{ ...place, kind: "answer" }, { ...sentenceAround(place.text.text, place), kind: "near" }]);
  } else {
    showPlaces(library.shown, []);
  }
  drawScopes();
  asked.onAnswer(entry);
}

function foundWords(place, texts) {
  const where = library.texts.length > 1 ? [make("p", { className: "quiet" }, "In ", bdi(place.text.name))] : [];
  const sure = make("p", { className: "quiet" }, make("strong", {}, percent(place.probability)), ` ${meaning(asked.model, texts)}`);
  const answer = isSure(place, asked.model)
    ? [make("p", { className: "found", dir: "auto" }, place.words)]
    : [make("p", { className: "found none" }, "No sure answer. The nearest passage:")];
  return [...answer, sentence(place), sure, ...where];
}

function sentence(place) {
  const { text } = place.text;
  if (!text) return make("p", { className: "quiet" }, "Its text has been removed.");
  const { start, end } = sentenceAround(text, place);
  const answer = make("mark", {}, text.slice(place.start, place.end));
  const around = [text.slice(start, place.start), answer, text.slice(place.end, end)];
  return make("p", { className: "sentence", dir: "auto" }, ...around);
}

function noneWords(entry) {
  const where = entry.texts > 1 ? "these texts" : "this text";
  const words = make("p", { className: "found none" }, `No answer found in ${where}`);
  return [words, make("p", { className: "quiet" }, whyNone(entry))];
}

function whyNone({ answer, candidates, maxError }) {
  if (maxError && answer.warning) return "For such a text nobody knows how many answers are wrong.";
  if (maxError) return `Nothing here is sure enough: at most ${percent(maxError)} of answers may be wrong.`;
  return candidates.length ? "What came closest is below." : "";
}

function drawCandidates(entry) {
  const isAnswered = Boolean(entry.answer.text);
  const choices = isAnswered && entry.candidates.length === 1 ? [] : entry.candidates;
  byId("candidates-title").hidden = !choices.length;
  byId("candidates-title").textContent = isAnswered ? "Possible answers" : "What came closest";
  byId("candidates").replaceChildren(...choices.map((place, index) => candidate(entry, place, index)));
}

function candidate(entry, { words, probability, text }, index) {
  const choose = () => {
    reveal(entry, index);
    byId("candidates").children[index].firstChild.focus({ preventScroll: true });
    byId("reader").scrollIntoView({ block: "nearest" });
  };
  const where = make("span", { className: "where" }, ...inText(text));
  const choice = button("", choose, { ariaPressed: String(index === entry.shown) });
  choice.append(make("span", { dir: "auto" }, words), make("span", { className: "quiet" }, percent(probability), where));
  return make("li", {}, choice);
}
