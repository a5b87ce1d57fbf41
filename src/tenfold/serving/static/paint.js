/** Small pictures on canvases: the 28 × 28, what decided, feature maps. */

import { SIZE } from "./normalize.js";

const FOR = [255, 168, 61]; // orange and blue: told apart by everyone
const AGAINST = [96, 165, 250];
const NEUTRAL = [120, 120, 120];

/** Show pixels as the network gets them, bright on black; black without any. */
export function paintPixels(canvas, pixels) {
  paint(canvas, SIZE, SIZE, (index) => {
    const value = pixels ? pixels[index] : 0;
    return [value, value, value, 255];
  });
}

/** Show a digit with each pixel in the colour of what it speaks for. */
export function paintImportance(canvas, pixels, importance) {
  paint(canvas, SIZE, SIZE, (index) => {
    const weight = importance ? importance[index] : 0;
    const target = weight > 0 ? FOR : AGAINST;
    const share = Math.sqrt(Math.abs(weight));
    const brightness = (pixels ? pixels[index] : 0) / 255;
    const mix = (channel) => NEUTRAL[channel] + share * (target[channel] - NEUTRAL[channel]);
    return [...[0, 1, 2].map((channel) => brightness * mix(channel)), 255];
  });
}

/**
 * Show feature maps side by side, the darker the stronger, in the colour of the text.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./network.js").Maps} maps
 * @param {number} columns of the arrangement
 */
export function paintMaps(canvas, { values, channels, height, width }, columns) {
  const strongest = Math.max(...values, 1e-9);
  const rows = Math.ceil(channels / columns);
  const [tileWidth, tileHeight] = [width + 1, height + 1]; // a pixel of space between maps
  const ink = getComputedStyle(canvas).color.match(/\d+/g).slice(0, 3).map(Number);
  const [totalWidth, totalHeight] = [columns * tileWidth - 1, rows * tileHeight - 1];
  paint(canvas, totalWidth, totalHeight, (index) => {
    const [y, x] = [Math.floor(index / totalWidth), index % totalWidth];
    const channel = Math.floor(y / tileHeight) * columns + Math.floor(x / tileWidth);
    const [row, column] = [y % tileHeight, x % tileWidth];
    if (row >= height || column >= width || channel >= channels) return [...ink, 0];
    const value = values[(channel * height + row) * width + column];
    return [...ink, 14 + 241 * Math.max(0, value / strongest)];
  });
}

/** Set each pixel of a canvas to what `colour` says: red, green, blue, alpha from 0 to 255. */
function paint(canvas, width, height, colour) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let index = 0; index < width * height; index += 1) image.data.set(colour(index), 4 * index);
  canvas.getContext("2d").putImageData(image, 0, 0);
}
