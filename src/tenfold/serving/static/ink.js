/**
 * Small filters on ink, as `tenfold.images.filters` has them.
 *
 * @typedef {{values: Float32Array, width: number, height: number}} Ink from 0 for paper to 1 for
 *   ink, row after row
 * @typedef {{left: number, top: number, right: number, bottom: number}} Box right and bottom are
 *   one past the end
 */

/** Ink of a size, all paper. @returns {Ink} */
export function blank(width, height) {
  return { values: new Float32Array(width * height), width, height };
}

/** The box around what is at least `faintest`; null if nothing is. @returns {Box | null} */
export function boundingBox({ values, width, height }, faintest) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      if (values[row * width + column] < faintest) continue;
      left = Math.min(left, column);
      right = Math.max(right, column + 1);
      top = Math.min(top, row);
      bottom = row + 1;
    }
  }
  return right ? { left, top, right, bottom } : null;
}

/** What lies in a box. It may reach beyond the ink, where there is paper. @returns {Ink} */
export function crop(ink, { left, top, right, bottom }) {
  const found = blank(right - left, bottom - top);
  for (let row = Math.max(top, 0); row < Math.min(bottom, ink.height); row += 1) {
    for (let column = Math.max(left, 0); column < Math.min(right, ink.width); column += 1) {
      found.values[(row - top) * found.width + column - left] =
        ink.values[row * ink.width + column];
    }
  }
  return found;
}

/** Paper around ink. @returns {Ink} */
export function pad(ink, by) {
  return crop(ink, { left: -by, top: -by, right: ink.width + by, bottom: ink.height + by });
}

/** Scale: by averaging where it shrinks, smoothly where it grows; as Pillow does. @returns {Ink} */
export function resize(ink, width, height) {
  const shrinks = width <= ink.width && height <= ink.height;
  const kernel = shrinks ? BOX : LANCZOS;
  const columns = windows(ink.width, width, kernel);
  const rows = windows(ink.height, height, kernel);
  return combineRows(combineColumns(ink, columns), rows);
}

const BOX = { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const LANCZOS = { reach: 3, weight: (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0) };

/**
 * For each of `to` pixels the first of the `from` pixels that it is made of, and their weights.
 * @returns {{start: number, weights: number[]}[]}
 */
function windows(from, to, kernel) {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: to }, (_, index) => {
    const centre = (index + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - kernel.reach * stretch + 0.5));
    const end = Math.min(from, Math.trunc(centre + kernel.reach * stretch + 0.5));
    const weights = [];
    for (let x = start; x < end; x += 1) weights.push(kernel.weight((x + 0.5 - centre) / stretch));
    return { start, weights: normalized(weights) };
  });
}

/** Weights with the sum 1. @param {number[]} weights */
export function normalized(weights) {
  const sum = weights.reduce((total, each) => total + each, 0);
  return weights.map((each) => each / sum);
}

/** Make each column of the result from a window of columns. @returns {Ink} */
export function combineColumns(ink, wanted) {
  const found = blank(wanted.length, ink.height);
  for (let row = 0; row < ink.height; row += 1) {
    wanted.forEach(({ start, weights }, column) => {
      let sum = 0;
      for (let k = 0; k < weights.length; k += 1) {
        sum += weights[k] * ink.values[row * ink.width + start + k];
      }
      found.values[row * found.width + column] = sum;
    });
  }
  return found;
}

/** Make each row of the result from a window of rows. @returns {Ink} */
export function combineRows(ink, wanted) {
  const found = blank(ink.width, wanted.length);
  wanted.forEach(({ start, weights }, row) => {
    for (let column = 0; column < ink.width; column += 1) {
      let sum = 0;
      for (let k = 0; k < weights.length; k += 1) {
        sum += weights[k] * ink.values[(start + k) * ink.width + column];
      }
      found.values[row * ink.width + column] = sum;
    }
  });
  return found;
}

/** The maximum over a disc around each pixel. @returns {Ink} */
export function grow(ink, radius) {
  const reach = Math.trunc(radius);
  const found = { ...ink, values: ink.values.slice() };
  for (let down = -reach; down <= reach; down += 1) {
    for (let right = -reach; right <= reach; right += 1) {
      if (down ** 2 + right ** 2 <= radius ** 2) raiseTo(found, ink, down, right);
    }
  }
  return found;
}

/** Raise each pixel to the one that lies (down, right) of it. */
function raiseTo(found, { values, width, height }, down, right) {
  const [first, last] = [Math.max(0, -right), Math.min(width, width - right)];
  for (let row = Math.max(0, -down); row < Math.min(height, height - down); row += 1) {
    const from = (row + down) * width + right;
    for (let column = first; column < last; column += 1) {
      const value = values[from + column];
      if (value > found.values[row * width + column]) found.values[row * width + column] = value;
    }
  }
}

/** The threshold from 0 to 1 that separates two classes of values best (N. Otsu, 1979). */
export function otsu(values) {
  const counts = new Float64Array(256);
  for (const value of values) counts[Math.min(255, Math.floor(value * 256))] += 1;
  const centre = (bin) => (bin + 0.5) / 256;
  const total = values.length;
  const sum = counts.reduce((all, count, bin) => all + count * centre(bin), 0);
  let [below, sumBelow, best, threshold] = [0, 0, -1, 0];
  counts.forEach((count, bin) => {
    below += count;
    sumBelow += count * centre(bin);
    if (below === 0 || below === total) return;
    const gap = sumBelow / below - (sum - sumBelow) / (total - below);
    const between = below * (total - below) * gap ** 2;
    if (between > best) [best, threshold] = [between, (bin + 1) / 256];
  });
  return threshold;
}
