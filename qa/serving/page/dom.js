// Elements, and how numbers and probabilities are said.

export const byId = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Words of somebody's text, whose direction is their own. */
export const bdi = (words) => make("bdi", {}, words);

export function button(words, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, words);
}

/** Runs what a control starts; says at `status` why it failed. */
export async function tell(status, work) {
  for (const said of document.querySelectorAll(".status:not(#lost)")) said.textContent = ""; // of what was done before
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") status.textContent = error.message;
    return undefined;
  }
}

/** Runs `work` when a form is sent; says at `status` why it failed. */
export function onSubmit(form, status, work) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    tell(byId(status), work);
  });
}

/** Gives `work` the files that somebody chooses. */
export function onFiles(field, work) {
  byId(field).addEventListener("change", async ({ target }) => {
    await work([...target.files]);
    target.value = "";
  });
}

export const counted = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;

export function percent(probability) {
  if (probability > 0.99 && probability < 1) return "over 99%";
  if (probability > 0 && probability < 0.01) return "under 1%";
  return `${Math.round(probability * 100)}%`;
}

const BAR = 0.3; // probability below which a passage is no answer

export const isSure = ({ probability }, model) => !model?.calibrated || model.may_refuse || probability >= BAR;

const SMALL = 10_000; // questions

/** What a model learned from, and for which texts its percentages hold. */
export function origin({ trained_on: sources, calibrated }) {
  const words = sources.map(({ questions, data, date }) => `${counted(questions, "question")} of ${data} (${date ?? "date unknown"})`).join(", then ");
  const size = sources.reduce((sum, { questions }) => sum + questions, 0) < SMALL ? ", a small set" : "";
  const from = words ? `trained on ${words}${size}` : "its origin is not known";
  const texts = words ? "these" : "those of its calibration";
  return `${from}; ${calibrated ? `its percentages are known only for texts like ${texts}` : "how often its answers are right is not known"}`;
}

/** What a percentage of this model means where it was asked over so many texts. */
export function meaning(model, texts) {
  if (!model?.calibrated) return "is a score, not a probability: this model is not calibrated";
  if (texts > 1 && Math.max(...model.calibrated_over) === 1) {
    return "is a score, not a probability: this model is calibrated for one text, and you asked several";
  }
  return "of such answers are right, for questions and texts like its training data";
}

export function shortened(text, length) {
  const line = text.trim().slice(0, 4 * length).replace(/\s+/gu, " ");
  return line.length > length ? `${line.slice(0, length).toWellFormed().replace(/\uFFFD$/u, "")}…` : line;
}

export function save(name, content) {
  const address = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  make("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}
