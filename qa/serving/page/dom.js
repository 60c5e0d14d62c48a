// Elements, and how numbers and probabilities are said.

export const byId = (id) => document.getElementById(id);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function button(words, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, words);
}

/** Runs what a control starts; says at `status` why it failed. */
export async function tell(status, work) {
  status.textContent = "";
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") status.textContent = error.message;
    return undefined;
  }
}

export const counted = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;

export function percent(probability) {
  if (probability > 0.99 && probability < 1) return "over 99%";
  if (probability > 0 && probability < 0.01) return "under 1%";
  return `${Math.round(probability * 100)}%`;
}

export function sureness(probability, isCalibrated) {
  if (!isCalibrated) return "not calibrated: the number is no probability";
  if (probability >= 0.9) return "very likely right";
  if (probability >= 0.7) return "likely right";
  return probability >= 0.4 ? "unsure" : "a guess";
}

export function shortened(text, length) {
  const line = text.trim().slice(0, 4 * length).replace(/\s+/gu, " ");
  return line.length > length ? `${line.slice(0, length).toWellFormed().replace(/\uFFFD$/u, "")}…` : line;
}

/** What this browser keeps under a name; `otherwise` where there is nothing, or nothing of ours. */
export function kept(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Whether the browser had room for it. */
export function keep(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function save(name, content) {
  const address = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  make("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}
