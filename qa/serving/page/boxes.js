// Leitner's boxes: a right answer moves a question one box up, a wrong one back to the first.

const DAYS = [0, 1, 3, 7, 14]; // until a question of each box is due again
const DAY = 86_400_000; // milliseconds
const APART = 3; // questions before a wrong one returns

export const stateOf = (progress, id) => progress[id] ?? { box: 1, due: 0 };

export function moved({ box }, isRight, now) {
  const next = isRight ? Math.min(box + 1, DAYS.length) : 1;
  return { box: next, due: now + DAYS[next - 1] * DAY };
}

export function dueIds(ids, progress, now) {
  return ids.filter((id) => stateOf(progress, id).due <= now);
}

/** The queue after its first question was answered. */
export function afterAnswer([first, ...others], isRight) {
  return isRight ? others : others.toSpliced(APART, 0, first);
}

/** Of each box, how many questions are in it and how many are due. */
export function perBox(ids, progress, now) {
  return DAYS.map((_, index) => {
    const inside = ids.filter((id) => stateOf(progress, id).box === index + 1);
    return { box: index + 1, questions: inside.length, due: dueIds(inside, progress, now).length };
  });
}

/** Another browser's progress, checked. */
export function readProgress(content, now) {
  const { boxes } = JSON.parse(content);
  const isState = ({ box, due }) => Number.isInteger(box) && box >= 1 && box <= DAYS.length && Number.isFinite(due);
  if (!boxes || !Object.values(boxes).every(isState)) throw new Error("boxes");
  const latest = now + DAYS.at(-1) * DAY;
  return Object.fromEntries(Object.entries(boxes).map(([id, { box, due }]) => [id, { box, due: Math.min(due, latest) }]));
}
