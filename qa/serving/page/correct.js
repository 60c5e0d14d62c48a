// Corrections: the right answer is selected in the text, or typed and looked up there.

import { post, request } from "./api.js";
import { asked, dropCorrection, keepCorrection } from "./ask.js";
import { bdi, byId, counted, shortened, tell } from "./dom.js";
import { occurrences, toPoints } from "./places.js";
import { library, reader } from "./texts.js";

const [LONGEST_NAME, LONGEST_ANSWER] = [200, 2000]; // code points, as the service takes them
let right = null; // {text, start, end}: what is to be sent
let places = []; // where the typed words are
let at = 0;

export function startCorrecting() {
  const status = byId("correct-status");
  document.addEventListener("selectionchange", takeSelection);
  byId("typed").addEventListener("input", lookUp);
  byId("typed").addEventListener("keydown", ({ key }) => {
    if (key === "Enter") byId("send-right").click();
  });
  byId("next-place").addEventListener("click", () => go(1));
  byId("previous-place").addEventListener("click", () => go(-1));
  byId("send-right").addEventListener("click", () => tell(status, sendRight));
  byId("send-none").addEventListener("click", () => tell(status, sendNone));
}

/** Begins anew with the answer that is shown. */
export function drawCorrecting(entry) {
  byId("correct").hidden = !library.shown;
  byId("correct-question").replaceChildren("Question: ", bdi(entry.question));
  const name = library.texts.length > 1 ? bdi(shortened(library.shown.name, 40)) : "The text";
  byId("send-none").replaceChildren(name, " has no answer");
  byId("typed").value = "";
  for (const id of ["place-words", "correct-status"]) byId(id).textContent = "";
  places = [];
  choose(null);
}

export function drawCount(corrections) {
  byId("corrections").textContent = `${counted(corrections, "correction")} so far.`;
}

const cut = (text, points) => [...text].slice(0, points).join("");

function choose(place) {
  right = place && { ...place, text: library.shown };
  byId("right-words").textContent = place ? shortened(reader.text.slice(place.start, place.end), 200) : "nothing yet";
  byId("send-right").disabled = !place;
  for (const id of ["next-place", "previous-place"]) byId(id).disabled = places.length < 2;
}

function takeSelection() {
  const place = reader.selection();
  if (!place) return;
  places = [];
  byId("place-words").textContent = "";
  choose(place);
}

function lookUp() {
  const words = byId("typed").value.trim();
  places = occurrences(reader.text, words);
  at = 0;
  const others = library.texts.length > 1 ? " If another text has them, show it first." : "";
  byId("place-words").textContent = words && !places.length ? `These words are not in the text.${others}` : "";
  go(0);
}

function go(step) {
  if (!places.length) return choose(null);
  at = (at + step + places.length) % places.length;
  byId("place-words").textContent = `Place ${at + 1} of ${places.length}`;
  reader.mark([{ ...places[at], kind: "right" }]);
  return choose(places[at]);
}

async function sendRight() {
  if (right.text !== library.shown) throw new Error("Another text is shown now. Select the answer again.");
  const { text } = right.text;
  return send(text.slice(right.start, right.end), toPoints(text, right.start));
}

/** That there is no answer, about where the wrong one is: of a long text the service keeps what is near. */
async function sendNone() {
  const wrong = asked.last.candidates[asked.last.shown ?? 0];
  return send("", wrong?.text.id === library.shown.id ? toPoints(library.shown.text, wrong.start) : 0);
}

async function send(text, start) {
  const [entry, shown] = [asked.last, library.shown];
  const [name, predicted] = [cut(shown.name, LONGEST_NAME), cut(entry.answer.text, LONGEST_ANSWER)];
  const { question } = entry;
  const sent = await post("/corrections", { question, context: shown.text, text, start, name, predicted });
  keepCorrection(entry, { id: sent.id, words: text, text: shown.id, name: shown.name });
  byId("correct-status").textContent = sent.added ? "Thank you, saved." : "This was known already.";
  drawCount(sent.corrections);
}

export async function undo(id) {
  const { corrections } = await request(`/corrections?id=${encodeURIComponent(id)}`, { method: "DELETE" });
  dropCorrection(id);
  byId("correct-status").textContent = "Undone.";
  drawCount(corrections);
}
