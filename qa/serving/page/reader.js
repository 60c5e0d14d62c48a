// A text to read, with places marked in it. A long one is many elements, which the browser draws as they are reached.

import { make } from "./dom.js";
import { pieces, trimmed } from "./places.js";

const LINE = 75; // characters, about
const LINE_HEIGHT = 1.65; // as in page.css

export class Reader {
  constructor(root) {
    this.root = root;
    this.show("");
  }

  show(text) {
    this.text = text;
    this.marked = [];
    this.pieces = pieces(text).map((piece, index) => ({ ...piece, element: this.#element(piece, index) }));
    this.root.replaceChildren(...this.pieces.map((piece) => piece.element));
    this.root.scrollTop = 0;
  }

  #element({ start, end, joined }, index) {
    const words = this.text.slice(start, end);
    const element = make("p", { textContent: words, className: joined ? "joined" : "", dir: "auto" });
    const lines = Math.max(words.split("\n").length, Math.ceil(words.length / LINE));
    element.style.containIntrinsicSize = `auto ${lines * LINE_HEIGHT}em`;
    element.dataset.piece = index;
    return element;
  }

  /** Marks places, [{start, end, kind}], instead of those before, and goes to the first. */
  mark(places) {
    for (const { start, end, element } of this.marked) element.textContent = this.text.slice(start, end);
    this.marked = this.pieces.filter((piece) => places.some((place) => isWithin(place, piece)));
    for (const piece of this.marked) piece.element.replaceChildren(...this.#parts(piece, places));
    if (places.length) this.#goTo(this.root.querySelector(`mark.${places[0].kind}`));
  }

  #parts(piece, places) {
    const ends = places.flatMap(({ start, end }) => [start, end]).filter((at) => at > piece.start && at < piece.end);
    const cuts = [piece.start, ...new Set(ends.sort((one, other) => one - other)), piece.end];
    return cuts.slice(1).map((end, index) => {
      const start = cuts[index];
      const kinds = places.filter((place) => isWithin(place, { start, end })).map((place) => place.kind);
      const words = this.text.slice(start, end);
      return kinds.length ? make("mark", { className: kinds.join(" ") }, words) : words;
    });
  }

  /** Again in the next frames: heights of what was never drawn are guesses. */
  #goTo(mark, frames = 4) {
    if (!mark.isConnected) return;
    const [seen, found] = [this.root.getBoundingClientRect(), mark.getBoundingClientRect()];
    this.root.scrollTop += found.top - seen.top - (seen.height - found.height) / 2;
    if (frames) requestAnimationFrame(() => this.#goTo(mark, frames - 1));
  }

  /** The place that is selected in this text, or null. */
  selection() {
    const selected = getSelection();
    if (!selected.rangeCount || selected.isCollapsed) return null;
    const range = selected.getRangeAt(0);
    const start = this.#position(range.startContainer, range.startOffset);
    if (start === null) return null;
    return trimmed(this.text, { start, end: this.#position(range.endContainer, range.endOffset) ?? this.text.length });
  }

  #position(node, offset) {
    if (node === this.root) return this.pieces[offset]?.start ?? this.text.length;
    if (!this.root.contains(node)) return null;
    const element = (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement).closest("[data-piece]");
    const before = document.createRange();
    before.setStart(element, 0);
    before.setEnd(node, offset);
    return this.pieces[element.dataset.piece].start + before.toString().length;
  }
}

const isWithin = (place, part) => place.start < part.end && place.end > part.start;
