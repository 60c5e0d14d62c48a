// Places in a text. JavaScript counts UTF-16 units, the service code points: an emoji is two units and one point.

const LONGEST = 2000; // units of a piece of the reading view; a browser lays out a few at a time
const PASSAGE = 3000; // units of the longest paragraph that is asked in alone

export function toUnits(text, points) {
  let units = 0;
  for (let left = points; left > 0 && units < text.length; left -= 1) units += text.codePointAt(units) > 0xffff ? 2 : 1;
  return units;
}

export const toPoints = (text, units) => [...text.slice(0, units)].length;

/** The text as the page keeps it: one kind of line end, and characters that every program takes. */
export const cleaned = (text) => text.replace(/\r\n?/gu, "\n").toWellFormed();

/** Where the paragraphs are, long ones in several pieces: [{start, end, joined}]. */
export function pieces(text) {
  const parts = [];
  const gaps = [...text.matchAll(/\n\s*\n/gu)].map((gap) => [gap.index, gap.index + gap[0].length]);
  let start = 0;
  for (const [end, next] of [...gaps, [text.length, text.length]]) {
    for (let at = start; at < end; ) {
      const stop = breakBefore(text, at, end);
      parts.push({ start: at, end: stop, joined: at > start });
      at = stop;
    }
    start = next;
  }
  return parts;
}

function breakBefore(text, start, end) {
  if (end - start <= LONGEST) return end;
  const latest = start + LONGEST;
  for (const sign of ["\n", " "]) {
    const at = text.lastIndexOf(sign, latest);
    if (at > start) return at + 1;
  }
  return beforePair(text, latest);
}

/** A place, or the one before it where it is within an emoji or another pair of units. */
const beforePair = (text, at) => (text.codePointAt(at - 1) > 0xffff ? at - 1 : at);

/** The paragraph around a place, or the line of it, or what is near where that is long, too. */
export function passageAround(text, { start, end }) {
  for (const between of ["\n\n", "\n"]) {
    const before = start > 0 ? text.lastIndexOf(between, start - 1) : -1;
    const after = text.indexOf(between, end);
    const passage = { start: before < 0 ? 0 : before + between.length, end: after < 0 ? text.length : after };
    if (passage.end - passage.start <= PASSAGE) return passage;
  }
  const ends = [Math.max(0, start - PASSAGE / 3), Math.min(text.length, end + PASSAGE / 3)];
  const [first, last] = ends.map((at) => beforePair(text, at));
  const before = text.indexOf(" ", first) + 1; // scripts without spaces are cut anywhere
  const after = text.lastIndexOf(" ", last);
  return { start: before && before <= start && first ? before : first, end: after >= end ? after : last };
}

/** The sentence around a place, or several where the place crosses their border. */
export function sentenceAround(text, place) {
  const { start, end } = passageAround(text, place);
  const sentences = new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(text.slice(start, end));
  const last = sentences.containing(Math.max(place.end - 1, place.start) - start);
  const begin = start + sentences.containing(place.start - start).index;
  return trimmed(text, { start: begin, end: start + last.index + last.segment.length }) ?? place;
}

/** A place without the white space at its ends; null where nothing is left. */
export function trimmed(text, { start, end }) {
  const words = text.slice(start, end);
  const begin = start + words.length - words.trimStart().length;
  const stop = begin + words.trim().length;
  return stop > begin ? { start: begin, end: stop } : null;
}

export function occurrences(text, words) {
  const places = [];
  if (!words) return places;
  for (let at = text.indexOf(words); at >= 0; at = text.indexOf(words, at + words.length)) {
    places.push({ start: at, end: at + words.length });
  }
  return places;
}
