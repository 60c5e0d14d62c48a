// What this browser keeps: rows in IndexedDB, written as they change, so that tabs do not overwrite each other.

import { byId } from "./dom.js";

const STORES = ["texts", "history", "decks", "boxes"];
const FORGET = "forget"; // a message to the other tabs
const others = new BroadcastChannel("qa");
const watchers = new Map(); // {store: what to do when another tab has changed it}
const pending = new Map(STORES.map((store) => [store, new Map()])); // rows by id that are not on the disk, or never will be
let database = null;

others.onmessage = ({ data }) => (data === FORGET ? location.reload() : watchers.get(data)?.());

export const watch = (store, reload) => watchers.set(store, reload);

/** A new key; later ones sort behind. */
export const newId = () => `${Date.now().toString(36).padStart(9, "0")}-${Math.random().toString(36).slice(2)}`;

function connect() {
  database ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("qa", 1);
    request.onupgradeneeded = () => STORES.forEach((name) => request.result.createObjectStore(name, { keyPath: "id" }));
    request.onsuccess = () => {
      request.result.onclose = () => { database = null; }; // somebody has deleted what the browser keeps
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  return database;
}

/** The result of a request to a store, once it is on the disk. */
async function run(store, mode, ask) {
  const transaction = (await connect()).transaction(store, mode);
  const request = ask(transaction.objectStore(store));
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  return request.result;
}

/** Whether the browser has kept the change; otherwise the page says so. */
async function change(store, ask) {
  try {
    await run(store, "readwrite", ask);
    others.postMessage(store);
    return true;
  } catch (error) {
    const reason = error?.name === "QuotaExceededError" ? "Its storage is full." : "It does not let this page store anything.";
    byId("lost").textContent = `This browser could not keep your last change. ${reason} It is lost when you close this page.`;
    return false;
  }
}

/** The rows of a store, oldest first, also those that the browser could not keep. */
export async function rows(store) {
  const kept = await run(store, "readonly", (rows) => rows.getAll()).catch(() => []);
  const all = new Map([...kept, ...pending.get(store).values()].map((row) => [row.id, row]));
  return [...all.values()].sort((one, other) => (one.id < other.id ? -1 : 1));
}

export async function put(store, row) {
  pending.get(store).set(row.id, row);
  if (await change(store, (rows) => rows.put(row))) pending.get(store).delete(row.id);
}

export function drop(store, id) {
  pending.get(store).delete(id);
  return change(store, (rows) => rows.delete(id));
}

/** What is chosen on the page, also after a reload, where the browser keeps anything; "" before a choice. */
export function setting(name, ...chosen) {
  try {
    if (chosen.length) localStorage.setItem(`qa.${name}`, ...chosen);
    return localStorage.getItem(`qa.${name}`) ?? "";
  } catch {
    return "";
  }
}

/** Empties the stores, and begins anew in every tab: each shows what it has read. */
export async function forget() {
  await Promise.all(STORES.map((store) => change(store, (rows) => rows.clear())));
  setting("max-error", "");
  others.postMessage(FORGET);
  location.reload();
}
