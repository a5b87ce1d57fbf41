/**
 * Why the network answers so: erase a part of the digit, and see how much less sure it is.
 */

import { predict } from "./network.js";
import { SIZE } from "./normalize.js";

const PATCH = 5; // pixels of the side that is erased
const STEP = 2; // between patches

/**
 * @typedef {{importance: Float32Array, without: string | null}} Explanation importance of each
 *   pixel from -1 (against the answer) to 1 (for it); the answer without the most important part,
 *   if that is another
 */

/**
 * Explain an answer. It takes a few hundred milliseconds, so it lets the page breathe in between.
 * @param {import("./network.js").Network} network
 * @param {Uint8Array} pixels 28 × 28
 * @param {() => boolean} isStale whether nobody waits for it any more
 * @returns {Promise<Explanation | null>} null once it is stale
 */
export async function explain(network, pixels, isStale) {
  const whole = predict(network, pixels);
  const predicted = whole.indexOf(Math.max(...whole));
  const sums = new Float32Array(SIZE * SIZE);
  const counts = new Float32Array(SIZE * SIZE);
  let most = { drop: 0, without: null };
  for (const patch of patchesWithInk(pixels)) {
    await nextTask();
    if (isStale()) return null;
    const erased = pixels.slice();
    patch.forEach((index) => (erased[index] = 0));
    const rest = predict(network, erased);
    const drop = logOdds(whole, predicted) - logOdds(rest, predicted);
    patch.forEach((index) => {
      sums[index] += drop;
      counts[index] += 1;
    });
    if (drop > most.drop) most = { drop, without: rest.indexOf(Math.max(...rest)) };
  }
  const isOther = most.without !== null && most.without !== predicted;
  return {
    importance: scaled(sums.map((sum, index) => (counts[index] ? sum / counts[index] : 0))),
    without: isOther ? network.classes[most.without] : null,
  };
}

/** The squares that hold ink, as lists of their pixels. @returns {number[][]} */
function patchesWithInk(pixels) {
  const found = [];
  for (let top = 2; top + PATCH <= SIZE - 1; top += STEP) {
    for (let left = 2; left + PATCH <= SIZE - 1; left += STEP) {
      const centre = (top + (PATCH >> 1)) * SIZE + left + (PATCH >> 1);
      const near = [0, 1, SIZE, SIZE + 1].some((step) => pixels[centre + step] > 64);
      if (near) found.push(square(top, left));
    }
  }
  return found;
}

function square(top, left) {
  return Array.from({ length: PATCH * PATCH }, (_, index) => {
    return (top + Math.floor(index / PATCH)) * SIZE + left + (index % PATCH);
  });
}

/** How sure of a class, without the ceiling that a probability has. */
function logOdds(probabilities, index) {
  const others = probabilities.reduce((sum, each, at) => (at === index ? sum : sum + each), 0);
  return Math.log(Math.max(probabilities[index], 1e-30)) - Math.log(Math.max(others, 1e-30));
}

/** Scale so that the largest size is 1. @param {Float32Array} values */
function scaled(values) {
  const largest = Math.max(...values.map(Math.abs), 1e-9);
  return values.map((each) => each / largest);
}

/** Let the browser draw and take input first. */
function nextTask() {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
