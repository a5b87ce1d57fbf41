/**
 * The ink in a picture, for a page without a server: plain paper, evenly lit. With a server the
 * picture goes to `tenfold.images`, which knows shadows, ruled lines and touching digits.
 *
 * @typedef {import("./ink.js").Ink} Ink
 */

import { otsu } from "./ink.js";
import { median } from "./segment.js";

const FAINTEST = 0.08; // contrast; less is a blank page
const GRAIN = 0.5; // of the threshold; fainter pixels are paper

/**
 * Tell ink from paper: the median of the border is paper, what differs from it is ink.
 * @param {Uint8ClampedArray} pixels red, green, blue, alpha
 * @param {number} width
 * @param {number} height
 * @returns {Ink}
 */
export function findInk(pixels, width, height) {
  const grey = new Float32Array(width * height);
  grey.forEach((_, index) => {
    const [red, green, blue] = pixels.subarray(4 * index, 4 * index + 3);
    grey[index] = (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
  });
  const paper = median(border(grey, width, height));
  // Ink of both kinds, brighter and darker than the paper: the one with more of it is meant.
  const sum = grey.reduce((total, each) => total + (each - paper) ** 3, 0);
  const sign = sum > 0 ? 1 : -1;
  const contrast = grey.map((each) => Math.max(0, sign * (each - paper)));
  return { values: scaleInk(contrast), width, height };
}

/** The values at the edge of a picture. @returns {number[]} */
function border(grey, width, height) {
  const isEdge = (index) => {
    const [row, column] = [Math.floor(index / width), index % width];
    return row === 0 || column === 0 || row === height - 1 || column === width - 1;
  };
  return [...grey].filter((_, index) => isEdge(index));
}

/** Scale contrast so that usual ink is 1 and paper with its grain is 0. @returns {Float32Array} */
function scaleInk(contrast) {
  const threshold = otsu(contrast);
  const strong = contrast.filter((each) => each > threshold);
  const usual = strong.length ? median(strong) : 0;
  if (usual < FAINTEST) return new Float32Array(contrast.length);
  const floor = GRAIN * threshold;
  return contrast.map((each) => Math.min(1, Math.max(0, (each - floor) / (usual - floor))));
}
