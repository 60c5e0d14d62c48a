// The page: which view is shown, what is served, files dropped on it, and forgetting everything.

import { limits, request } from "./api.js";
import { asked, drawScopes, startAsking } from "./ask.js";
import { drawCorrecting, drawCount, startCorrecting, undo } from "./correct.js";
import { byId, make, origin, percent, tell } from "./dom.js";
import { forget, setting } from "./store.js";
import { loadQuestions, startStudy } from "./study.js";
import { addFiles, library, startLibrary } from "./texts.js";

const isStudy = () => location.hash === "#study";

function showView() {
  for (const [name, isShown] of [["ask", !isStudy()], ["study", isStudy()]]) {
    byId(`${name}-view`).hidden = !isShown;
    byId(`to-${name}`).ariaCurrent = isShown ? "page" : null;
  }
}

async function showModel() {
  const model = await request("/model");
  asked.model = model;
  Object.assign(limits, model.limits);
  byId("model").textContent = `${model.model} (${model.engine})${model.trained ? `: ${origin(model)}` : ""}`;
  byId("untrained").hidden = model.trained;
  byId("language").parentElement.hidden = !model.languages.length;
  byId("language").append(...model.languages.map((code) => make("option", {}, code)));
  const maxError = byId("max-error");
  maxError.parentElement.hidden = !model.max_errors.length;
  maxError.append(...model.max_errors.toReversed().map((error) => make("option", { value: error }, `at most ${percent(error)}`)));
  maxError.value = setting("max-error");
  if (maxError.selectedIndex < 0) maxError.value = ""; // another model's
  drawCount(model.corrections);
}

function takeDrops() {
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    if (isStudy()) loadQuestions(event.dataTransfer.files[0]);
    else addFiles([...event.dataTransfer.files]);
  });
}

function forgetEverything() {
  if (confirm("Forget all texts, the history, the decks and the progress of your study?")) forget();
}

window.addEventListener("hashchange", () => {
  if (["", "#ask", "#study"].includes(location.hash)) showView();
});
byId("max-error").addEventListener("change", ({ target }) => setting("max-error", target.value));
byId("forget").addEventListener("click", forgetEverything);
Object.assign(asked, { onAnswer: drawCorrecting, undo });
library.onChange = () => {
  drawScopes();
  if (asked.last) drawCorrecting(asked.last);
};
startCorrecting();
startAsking();
startLibrary();
startStudy();
takeDrops();
showView();
tell(byId("page-status"), showModel);
