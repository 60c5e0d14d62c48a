// What the page asks of the service, and the token where it wants one.

import { byId } from "./dom.js";

let token = session("getItem"); // also after a reload, where the browser keeps anything
let waiting = null; // for a token, whoever asked first

export const limits = { body: Infinity, context: Infinity }; // bytes, characters of a request; the service says its own

async function send(path, options = {}) {
  checkSize(options.body?.name ?? "The request", new Blob([options.body ?? ""]).size);
  const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  const response = await fetch(path, { ...options, headers }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The service cannot be reached. Does it still run?");
  });
  if (response.status === 401) {
    waiting ??= newToken(Boolean(token));
    await waiting;
    return send(path, options);
  }
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({}));
  throw new Error(error || `The service answered ${response.status}.`);
}

function checkSize(what, bytes) {
  const megabytes = (number) => `${(number / 2 ** 20).toFixed(1)} MB`;
  if (bytes <= limits.body) return;
  throw new Error(`${what}: ${megabytes(bytes)}; the service takes ${megabytes(limits.body)} at once.`);
}

function newToken(wasWrong) {
  const form = byId("token-form");
  byId("token-words").textContent = wasWrong ? "This token is not accepted." : "This service asks for a token.";
  form.hidden = false;
  byId("token").focus();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      token = byId("token").value.trim();
      session("setItem", token);
      byId("token").value = "";
      form.hidden = true;
      waiting = null;
      resolve();
    };
  });
}

function session(method, ...value) {
  try {
    return sessionStorage[method]("qa.token", ...value);
  } catch {
    return null;
  }
}

const asJson = (body) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export async function request(path, options) {
  return (await send(path, options)).json();
}

export const post = (path, body) => request(path, asJson(body));

export function upload(path, file) {
  const headers = { "Content-Type": "application/octet-stream" };
  return request(`${path}?name=${encodeURIComponent(file.name)}`, { method: "POST", headers, body: file });
}

/** The JSON lines of a response as they arrive. */
export async function* stream(path, body, signal) {
  const response = await send(path, { ...asJson(body), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      return { done: true }; // the connection broke
    });
    if (done) throw new Error("The service ended before it had answered. Ask again.");
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) {
      const line = JSON.parse(part);
      if (line.error) throw new Error(line.error);
      yield line;
      if (line.final) return;
    }
  }
}
