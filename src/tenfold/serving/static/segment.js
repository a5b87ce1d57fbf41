/**
 * The digits in ink: connected parts, put together where they are one digit, in reading order.
 * The rules are those of `tenfold.images.glyphs`.
 *
 * @typedef {import("./ink.js").Ink} Ink
 * @typedef {import("./ink.js").Box} Box
 * @typedef {{parts: number[], area: number, box: Box}} Glyph connected parts that are one digit
 * @typedef {{box: Box, ink: Ink, line: number, position: number}} Digit
 */

import { blank, boundingBox, crop } from "./ink.js";

const FAINT = 0.05; // strength from which a pixel belongs to a stroke
const EDGE = 0.4; // strength at the edge of a stroke, where its box ends
const MANY_PIXELS = 40; // of a side; a smaller digit's box ends at FAINT
const SPECK = 0.12; // of the tallest part

/**
 * Find the digits.
 * @param {Ink} ink
 * @returns {Digit[]} in the order of reading; none without ink
 */
export function findDigits(ink) {
  const { labels, glyphs } = connectedParts(ink);
  const lines = linesOf(withoutMarks(joined(withoutSpecks(glyphs))));
  return lines.flatMap((line, number) =>
    line.map((glyph, position) => {
      const own = inkOf(glyph, ink, labels);
      return { box: glyph.box, ink: own, line: number, position };
    }),
  );
}

/**
 * Number the parts of the ink that touch by a side or a corner.
 * @returns {{labels: Int32Array, glyphs: Glyph[]}} labels are 0 on paper
 */
function connectedParts({ values, width, height }) {
  const labels = new Int32Array(width * height);
  const glyphs = [];
  for (let start = 0; start < values.length; start += 1) {
    if (values[start] < FAINT || labels[start]) continue;
    glyphs.push(flood({ values, width, height }, labels, start, glyphs.length + 1));
  }
  return { labels, glyphs };
}

/** Label all that is connected to one pixel. @returns {Glyph} */
function flood({ values, width, height }, labels, start, label) {
  const box = { left: width, top: height, right: 0, bottom: 0 };
  const waiting = [start];
  let area = 0;
  labels[start] = label;
  while (waiting.length) {
    const pixel = waiting.pop();
    const [row, column] = [Math.floor(pixel / width), pixel % width];
    area += 1;
    box.left = Math.min(box.left, column);
    box.top = Math.min(box.top, row);
    box.right = Math.max(box.right, column + 1);
    box.bottom = Math.max(box.bottom, row + 1);
    for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, height - 1); y += 1) {
      for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, width - 1); x += 1) {
        const near = y * width + x;
        if (labels[near] || values[near] < FAINT) continue;
        labels[near] = label;
        waiting.push(near);
      }
    }
  }
  return { parts: [label], area, box };
}

/** Enlarge a box to hold another. */
function stretch(box, other) {
  box.left = Math.min(box.left, other.left);
  box.top = Math.min(box.top, other.top);
  box.right = Math.max(box.right, other.right);
  box.bottom = Math.max(box.bottom, other.bottom);
}

const widthOf = ({ box }) => box.right - box.left;
const heightOf = ({ box }) => box.bottom - box.top;
const extentOf = (glyph) => Math.max(widthOf(glyph), heightOf(glyph));

/** Leave out what is tiny beside the rest. @param {Glyph[]} glyphs @returns {Glyph[]} */
function withoutSpecks(glyphs) {
  const extent = Math.max(...glyphs.map(extentOf));
  const area = Math.max(...glyphs.map((glyph) => glyph.area));
  return glyphs.filter((one) => extentOf(one) >= SPECK * extent || one.area >= 0.03 * area);
}

/** Put parts together that are one digit, such as a 5 and its bar. @returns {Glyph[]} */
function joined(glyphs) {
  const found = [...glyphs].sort((one, other) => other.area - one.area);
  for (let index = 0; index < found.length; index += 1) {
    const near = found.slice(index + 1).filter((other) => isOneDigit(found[index], other));
    if (!near.length) continue;
    const whole = join([found[index], ...near]);
    const rest = found.filter((one, at) => at !== index && !near.includes(one));
    return joined([whole, ...rest]);
  }
  return found;
}

/** @param {Glyph[]} glyphs @returns {Glyph} */
function join(glyphs) {
  const box = { ...glyphs[0].box };
  glyphs.forEach((glyph) => stretch(box, glyph.box));
  const area = glyphs.reduce((sum, glyph) => sum + glyph.area, 0);
  return { parts: glyphs.flatMap((glyph) => glyph.parts), area, box };
}

/** Whether two glyphs are parts of one digit, rather than digits of a line or of two. */
function isOneDigit(first, second) {
  const taller = Math.max(heightOf(first), heightOf(second));
  const lower = Math.min(heightOf(first), heightOf(second));
  const narrower = Math.min(widthOf(first), widthOf(second));
  const beside = -overlap(first.box.left, first.box.right, second.box.left, second.box.right);
  const above = -overlap(first.box.top, first.box.bottom, second.box.top, second.box.bottom);
  if (lower < 0.6 * taller) {
    // a bar, or a bit of a broken stroke
    const covers = -beside >= 0.5 * narrower;
    return (covers && above < 0.3 * taller) || Math.max(beside, above) < 0.06 * taller;
  }
  return above < 0.06 * taller && -beside >= 0.5 * narrower;
}

/** By how much two ranges overlap; a gap is negative. */
function overlap(start, end, otherStart, otherEnd) {
  return Math.min(end, otherEnd) - Math.max(start, otherStart);
}

/** Leave out what is much smaller than the digits: commas, dashes, dots. @returns {Glyph[]} */
function withoutMarks(glyphs) {
  const tallest = Math.max(...glyphs.map(heightOf));
  const heights = glyphs.map(heightOf).filter((height) => 2 * height >= tallest);
  const usual = median(heights);
  return glyphs.filter((glyph) => heightOf(glyph) >= 0.4 * usual);
}

/** @param {ArrayLike<number>} values at least one */
export function median(values) {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Order glyphs in lines from top to bottom, and each line from left to right. A glyph follows the
 * line whose last glyph it overlaps most in height, so lines may slope.
 * @returns {Glyph[][]}
 */
function linesOf(glyphs) {
  const lines = [];
  const shared = (line, glyph) => {
    const last = line[line.length - 1].box;
    return overlap(last.top, last.bottom, glyph.box.top, glyph.box.bottom);
  };
  for (const glyph of [...glyphs].sort((one, other) => one.box.left - other.box.left)) {
    const best = lines.reduce(
      (most, line) => (most && shared(most, glyph) >= shared(line, glyph) ? most : line),
      null,
    );
    const lower = best && Math.min(heightOf(best[best.length - 1]), heightOf(glyph));
    if (best && shared(best, glyph) > 0.3 * lower) best.push(glyph);
    else lines.push([glyph]);
  }
  const middle = (line) =>
    line.reduce((sum, { box }) => sum + box.top + box.bottom, 0) / line.length;
  return lines.sort((one, other) => middle(one) - middle(other));
}

/** The ink of one glyph alone, in the box around its strong ink. @returns {Ink} */
function inkOf(glyph, ink, labels) {
  const { left, top } = glyph.box;
  const found = blank(widthOf(glyph), heightOf(glyph));
  const own = new Set(glyph.parts);
  found.values.forEach((_, index) => {
    const row = top + Math.floor(index / found.width);
    const at = row * ink.width + left + (index % found.width);
    if (own.has(labels[at])) found.values[index] = ink.values[at];
  });
  const core = boundingBox(found, extentOf(glyph) >= MANY_PIXELS ? EDGE : FAINT);
  return core ? crop(found, core) : found;
}
