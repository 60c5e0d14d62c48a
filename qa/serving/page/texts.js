// The texts that may be asked: a small library, kept in this browser.

import { limits, upload } from "./api.js";
import { bdi, button, byId, counted, make, onFiles, onSubmit, shortened, tell } from "./dom.js";
import { cleaned, toPoints } from "./places.js";
import { Reader } from "./reader.js";
import { drop, newId, put, rows, watch } from "./store.js";

const LONG = 50_000; // characters of what is pasted
export const SAMPLE = `Anna Kern founded the mill of Arlbury in 1912. It stands on the river Wend, two miles from the town.

Her son Paul sold it in 1950. Since then it has been a museum, which opens on Sundays from May to October.`;

export const reader = new Reader(byId("reader"));
export const library = { texts: [], shown: null, onChange: () => {} };

export async function startLibrary() {
  onSubmit("add-form", "texts-status", addPasted);
  byId("pasted").addEventListener("paste", addLong);
  byId("sample").addEventListener("click", () => tell(byId("texts-status"), () => add("Sample", SAMPLE)));
  onFiles("files", addFiles);
  watch("texts", reload);
  open(null);
  await reload();
  byId("adding").open = !library.texts.length;
}

/** Takes over what this browser keeps, also what another tab has changed. */
async function reload() {
  const here = new Map(library.texts.map((text) => [text.id, text]));
  library.texts = (await rows("texts")).map((text) => Object.assign(here.get(text.id) ?? text, { name: text.name }));
  if (!library.texts.includes(library.shown)) open(library.texts[0] ?? null);
  draw();
}

/** A long text is taken as it is pasted: a field with a million characters is slow. */
function addLong(event) {
  const text = event.clipboardData.getData("text/plain");
  if (text.length < LONG || byId("pasted").value) return;
  event.preventDefault();
  tell(byId("texts-status"), () => add(titleOf(text), text));
}

function addPasted() {
  const field = byId("pasted");
  if (!field.value.trim()) throw new Error("Paste a text first.");
  add(titleOf(field.value), field.value);
  field.value = "";
}

/** A name for a text that has none: the beginning of its first line. */
const titleOf = (text) => shortened(text.trim().split("\n", 1)[0].replace(/^#+\s*/u, "") || text, 40);

function rename(text) {
  const name = prompt("Name of the text", text.name)?.trim();
  if (!name) return;
  text.name = name;
  put("texts", text);
  if (library.shown === text) byId("reading-title").textContent = name;
  draw();
}

export async function addFiles(files) {
  const status = byId("texts-status");
  const failures = [];
  for (const file of files) {
    status.textContent = `Reading ${file.name} …`;
    try {
      const { name, text } = await upload("/texts", file);
      if (!text.trim()) throw new Error(`${name}: has no text`);
      add(name, text);
    } catch (error) {
      failures.push(error.message);
    }
  }
  status.textContent = failures.join("\n");
}

function add(name, text) {
  const length = toPoints(text, text.length);
  if (length > limits.context) {
    throw new Error(`${name}: ${counted(length, "character")}; the service reads ${counted(limits.context, "character")} at a time`);
  }
  const added = { id: newId(), name, text: cleaned(text) };
  library.texts.push(added);
  put("texts", added);
  open(added);
  draw();
  byId("adding").open = false;
  byId("question").focus();
}

function remove(text) {
  library.texts = library.texts.filter((other) => other !== text);
  if (library.shown === text) open(library.texts[0] ?? null);
  drop("texts", text.id);
  draw();
  byId("texts-title").focus();
}

export function open(text) {
  library.shown = text;
  byId("reading-title").textContent = text ? text.name : "No text yet";
  byId("welcome").hidden = Boolean(text);
  byId("reader").hidden = !text;
  reader.show(text ? text.text : "");
}

/** Shows places of a text, marked. */
export function showPlaces(text, places) {
  if (library.shown !== text) {
    open(text);
    draw();
  }
  reader.mark(places);
}

function draw() {
  byId("texts").replaceChildren(...library.texts.map(row));
  byId("adding").open ||= !library.texts.length;
  library.onChange();
}

function sizeOf(text) {
  return text.length < 1000 ? counted(text.length, "character") : `${Math.round(text.length / 1000).toLocaleString("en")}k characters`;
}

function row(text) {
  const show = () => {
    open(text);
    draw();
    byId("reader").focus();
  };
  const ariaCurrent = text === library.shown ? "true" : null;
  const name = button(bdi(text.name), show, { className: "name", title: text.name, ariaCurrent });
  const size = make("span", { className: "quiet" }, sizeOf(text.text));
  return make("li", {}, name, size, small("✎", "Rename", rename, text), small("×", "Remove", remove, text));
}

const small = (sign, title, work, text) =>
  button(sign, () => work(text), { className: "small", title, ariaLabel: `${title} ${text.name}` });
