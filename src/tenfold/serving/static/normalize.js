/**
 * From the ink of one digit to the 28 × 28 pixels that MNIST would have made of it: the steps of
 * `tenfold.images.normalize`, with its numbers. A test compares the two.
 *
 * @typedef {import("./ink.js").Ink} Ink
 */

import { blank, boundingBox, combineColumns, combineRows, crop, grow, normalized, pad, resize } from "./ink.js";

export const SIZE = 28;
const BOX = 20; // pixels of the square that a digit is scaled to
const FOOTPRINT = 0.99; // of the source pixels that each pixel of the box averages
const SMALLEST_SIDE = 10;
const THIN = 1.45; // pixels of the box; a thinner stroke is widened
const USUAL_WIDTH = 2.0;
const FAINT = 0.1; // ink that is left out of what is drawn larger
const FINE = 4 * BOX;

/**
 * The digit as MNIST would show it, with strokes at least as wide.
 * @param {Ink} ink
 * @returns {Uint8Array} 28 × 28, bright on black; black without ink
 */
export function toMnist(ink) {
  const box = boundingBox(ink, Number.MIN_VALUE);
  if (!box) return new Uint8Array(SIZE * SIZE);
  let digit = crop(ink, box);
  const side = Math.max(digit.width, digit.height);
  const width = (strokeWidth(digit) * BOX) / side;
  if (side < BOX || width < THIN) {
    digit = drawFinely(digit, FINE / side);
    if (width < THIN) {
      // The digit grows too, and is scaled back into its box.
      const growth = (USUAL_WIDTH - width) / (BOX - USUAL_WIDTH);
      digit = grow(pad(digit, BOX), (growth * FINE) / 2);
    }
  }
  return normalize(digit);
}

/**
 * The mean width of the strokes in pixels: twice their area by the sum of their gradients.
 * @param {Ink} ink
 */
export function strokeWidth(ink) {
  const { values, width, height } = pad(ink, 1);
  let [area, gradients] = [0, 0];
  for (let row = 0; row + 1 < height; row += 1) {
    for (let column = 0; column + 1 < width; column += 1) {
      const here = values[row * width + column];
      const down = values[(row + 1) * width + column] - here;
      const right = values[row * width + column + 1] - here;
      area += here;
      gradients += Math.sqrt(down * down + right * right);
    }
  }
  return gradients ? (2 * area) / gradients : 0;
}

/** Scale; where that is up, edges stay soft, as a pixel of grey is half covered. @returns {Ink} */
function drawFinely(ink, scale) {
  const padded = pad(ink, 2);
  const [width, height] = [padded.width, padded.height].map((length) =>
    Math.max(1, roundHalfEven(scale * length)),
  );
  const fine = resize(padded, width, height);
  return {
    ...fine,
    values: fine.values.map((value) => clip((value - FAINT) / (1 - FAINT), 0, 1)),
  };
}

/** Box, average to 20 × 20, centre of mass in the middle. @returns {Uint8Array} 28 × 28 */
function normalize(ink) {
  const found = new Uint8Array(SIZE * SIZE);
  const box = boundingBox(ink, Number.MIN_VALUE);
  if (!box) return found;
  const digit = toBytes(shrink(square(crop(ink, box))));
  const [top, left] = pasteOffsets(digit);
  for (let row = 0; row < BOX; row += 1) {
    for (let column = 0; column < BOX; column += 1) {
      const [y, x] = [row + top, column + left];
      const inside = y >= 0 && x >= 0 && y < SIZE && x < SIZE;
      if (inside) found[y * SIZE + x] = digit[row * BOX + column];
    }
  }
  return found;
}

/** Pad the shorter side at both ends; double pixels until there are at least 20 a side. */
function square(ink) {
  const side = Math.max(ink.width, ink.height, SMALLEST_SIDE);
  const left = -Math.floor((side - ink.width) / 2);
  const top = -Math.floor((side - ink.height) / 2);
  let found = crop(ink, { left, top, right: left + side, bottom: top + side });
  while (found.width < BOX) found = doubled(found);
  return found;
}

function doubled(ink) {
  const found = blank(2 * ink.width, 2 * ink.height);
  found.values.forEach((_, index) => {
    const row = Math.floor(index / found.width) >> 1;
    const column = index % found.width >> 1;
    found.values[index] = ink.values[row * ink.width + column];
  });
  return found;
}

/** Average over areas, to 20 × 20. @returns {Ink} */
function shrink(ink) {
  const side = ink.width;
  const reach = (FOOTPRINT * side) / BOX / 2;
  const parts = Array.from({ length: BOX }, (_, index) => {
    const centre = ((index + 0.5) * side) / BOX;
    const start = Math.floor(centre - reach);
    const weights = [];
    for (let edge = start; edge < centre + reach; edge += 1) {
      weights.push(Math.min(edge + 1, centre + reach) - Math.max(edge, centre - reach));
    }
    return { start, weights: normalized(weights) };
  });
  return combineRows(combineColumns(ink, parts), parts);
}

/** Scale to 0…255, so that the darkest ink is 255. @returns {Uint8Array} */
function toBytes({ values }) {
  const darkest = Math.min(1, Math.max(...values));
  return Uint8Array.from(values, (each) => clip(Math.floor((255 * each) / darkest + 0.5), 0, 255));
}

/** The row and the column at which the box's top left pixel goes in the 28 × 28. */
function pasteOffsets(digit) {
  let [mass, down, right] = [0, 0, 0];
  digit.forEach((value, index) => {
    mass += value;
    down += value * (Math.floor(index / BOX) + 0.5);
    right += value * ((index % BOX) + 0.5);
  });
  return [Math.trunc(15 - down / mass), Math.trunc(15 - right / mass)];
}

function clip(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/** As Python rounds: halves go to the even neighbour. */
function roundHalfEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}
