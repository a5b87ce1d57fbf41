/**
 * What to make of probabilities, by the rule that was fitted on held-out digits; see
 * `tenfold.decision`.
 *
 * @typedef {"sure" | "not sure" | "no digit" | "no ink"} Decision
 * @typedef {{label: string, confidence: number, decision: Decision, probabilities: number[],
 *   ranking: number[]}} Answer ranking holds the classes, the most probable first
 */

/**
 * @param {import("./network.js").Network} network
 * @param {ArrayLike<number>} probabilities
 * @returns {Answer}
 */
export function decide({ classes, sureThreshold, digitThreshold }, probabilities) {
  const ranking = classes.map((_, index) => index);
  ranking.sort((one, other) => probabilities[other] - probabilities[one]);
  const [first, second] = ranking.map((index) => probabilities[index]);
  const isDigit = first + second >= digitThreshold;
  const decision = isDigit ? (first >= sureThreshold ? "sure" : "not sure") : "no digit";
  const label = classes[ranking[0]];
  return { label, confidence: first, decision, probabilities: [...probabilities], ranking };
}

/** "99.7%", and never 100%: nothing is that certain. */
export function percent(probability) {
  return probability > 0.999 ? ">99.9%" : `${(100 * probability).toFixed(1)}%`;
}

/** One sentence about an answer. @param {Answer} answer @param {string[]} classes */
export function describe({ decision, ranking, probabilities }, classes) {
  const [first, second] = ranking;
  const named = (index) => `${classes[index]} (${percent(probabilities[index])})`;
  if (decision === "sure") return `Sure: ${named(first)}`;
  if (decision === "not sure") return `Not sure: ${named(first)} or ${named(second)}`;
  return `No digit that it knows; most like ${classes[first]}`;
}
