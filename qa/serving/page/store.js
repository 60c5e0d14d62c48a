// What this browser keeps: rows in IndexedDB, written as they change, so that tabs do not overwrite each other.

import { byId } from "./dom.js";

const STORES = ["texts", "history", "decks", "boxes"];
const others = new BroadcastChannel("qa");
const watchers = new Map(); // {store: what to do when another tab has changed it}
let database = null;

others.onmessage = ({ data }) => watchers.get(data)?.();

export const watch = (store, reload) => watchers.set(store, reload);

/** A new key; later ones sort behind. */
export const newId = () => `${Date.now().toString(36).padStart(9, "0")}-${Math.random().toString(36).slice(2)}`;

function connect() {
  database ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("qa", 1);
    request.onupgradeneeded = () => STORES.forEach((name) => request.result.createObjectStore(name, { keyPath: "id" }));
    request.onsuccess = () => resolve(request.result);
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

/** Whether the browser has kept it. */
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

/** The rows of a store, oldest first; none where the browser keeps nothing. */
export const rows = (store) => run(store, "readonly", (rows) => rows.getAll()).catch(() => []);

export const put = (store, row) => change(store, (rows) => rows.put(row));
export const drop = (store, id) => change(store, (rows) => rows.delete(id));

export const forgetStored = () => Promise.all(STORES.map((store) => change(store, (rows) => rows.clear())));
