// The texts that may be asked: a small library in memory, kept in this browser up to a limit.

import { upload } from "./api.js";
import { button, byId, counted, keep, kept, make, shortened, tell } from "./dom.js";
import { cleaned } from "./places.js";
import { Reader } from "./reader.js";

const KEPT = "qa.texts";
const LONG = 50_000; // characters of what is pasted
const MOST = 2_000_000; // characters that are kept

export const reader = new Reader(byId("reader"));
export const library = { texts: [], shown: null, onChange: () => {} };

export function startLibrary() {
  const status = byId("texts-status");
  byId("add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    tell(status, () => addPasted());
  });
  byId("pasted").addEventListener("paste", addLong);
  byId("files").addEventListener("change", async (event) => {
    await addFiles([...event.target.files]);
    event.target.value = "";
  });
  library.texts = kept(KEPT, []);
  open(library.texts[0] ?? null);
  draw();
}

/** A long text is taken as it is pasted: a field with a million characters is slow. */
function addLong(event) {
  const text = event.clipboardData.getData("text/plain");
  if (text.length < LONG || byId("pasted").value) return;
  event.preventDefault();
  add(shortened(text, 28), text);
}

function addPasted() {
  const field = byId("pasted");
  if (!field.value.trim()) throw new Error("Paste a text first.");
  add(shortened(field.value, 28), field.value);
  field.value = "";
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
  const added = { name, text: cleaned(text) };
  library.texts.push(added);
  open(added);
  changed();
  byId("adding").open = false;
}

function remove(text) {
  library.texts = library.texts.filter((other) => other !== text);
  if (library.shown === text) open(library.texts[0] ?? null);
  changed();
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

export function forgetTexts() {
  library.texts = [];
  open(null);
  draw();
}

function changed() {
  keepTexts();
  draw();
}

function keepTexts() {
  let left = MOST;
  const some = library.texts.filter(({ text }) => {
    const fits = text.length <= left;
    if (fits) left -= text.length;
    return fits;
  });
  const isKept = keep(KEPT, some) && some.length === library.texts.length;
  byId("kept").hidden = isKept;
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
  const isShown = text === library.shown;
  const name = button(text.name, () => { open(text); draw(); byId("reader").focus(); }, { className: "name", title: text.name });
  if (isShown) name.setAttribute("aria-current", "true");
  const size = make("span", { className: "quiet" }, sizeOf(text.text));
  const gone = button("×", () => remove(text), { className: "small", title: "Remove" });
  gone.setAttribute("aria-label", `Remove ${text.name}`);
  return make("li", {}, name, size, gone);
}
