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

/** "99.7%", and never 100% or 0% of what is not certain. */
export function percent(probability) {
  if (probability > 0.9995) return "> 99.9%";
  if (probability < 0.0005) return "< 0.1%";
  return `${(100 * probability).toFixed(1)}%`;
}

/** One sentence about an answer. @param {Answer} answer @param {string[]} classes */
export function describe({ decision, ranking, probabilities }, classes) {
  const [first, second] = ranking;
  const likely = `${classes[first]} ${percent(probabilities[first])}`;
  if (decision === "sure") return `Sure: ${likely}`;
  if (decision === "not sure") {
    return `Not sure: ${likely}, ${classes[second]} ${percent(probabilities[second])}`;
  }
  return `No digit that I know; most like ${classes[first]}`;
}
