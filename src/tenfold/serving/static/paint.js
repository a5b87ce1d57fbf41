/** Small pictures on canvases: the 28 × 28, what decided, feature maps. */

import { SIZE } from "./normalize.js";

const FOR = [255, 168, 61]; // orange and blue: told apart by everyone
const AGAINST = [96, 165, 250];
const NEUTRAL = [120, 120, 120];
const PAPER = 10; // opacity of a map, from 0 to 255, where it is 0
const CONTRAST = 0.7; // below 1, so that weak answers can be seen

/** Show pixels as the network gets them, bright on black. */
export function paintPixels(canvas, pixels) {
  const image = new ImageData(SIZE, SIZE);
  pixels.forEach((value, index) => image.data.set([value, value, value, 255], 4 * index));
  paint(canvas, image);
}

/** Show a digit with each pixel in the colour of what it speaks for; grey without importance. */
export function paintImportance(canvas, pixels, importance) {
  const image = new ImageData(SIZE, SIZE);
  pixels.forEach((value, index) => {
    const weight = importance ? importance[index] : 0;
    const target = weight > 0 ? FOR : AGAINST;
    const share = Math.sqrt(Math.abs(weight));
    const mixed = NEUTRAL.map((grey, channel) => grey + share * (target[channel] - grey));
    image.data.set([...mixed.map((each) => (each * value) / 255), 255], 4 * index);
  });
  paint(canvas, image);
}

/**
 * Show feature maps side by side, in the colour of the text where a filter found its pattern.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./network.js").Maps} maps
 * @param {number} columns of the arrangement
 */
export function paintMaps(canvas, { values, channels, height, width }, columns) {
  const strongest = Math.max(...values, 1e-9);
  const rows = Math.ceil(channels / columns);
  const [stepRight, stepDown] = [width + 1, height + 1]; // a pixel of space between maps
  const image = new ImageData(columns * stepRight - 1, rows * stepDown - 1);
  const ink = getComputedStyle(canvas).color.match(/\d+/g).slice(0, 3).map(Number);
  for (let index = 0; index < image.data.length; index += 4) image.data.set(ink, index);
  values.forEach((value, index) => {
    const channel = Math.floor(index / (height * width));
    const [row, column] = [Math.floor(index / width) % height, index % width];
    const y = Math.floor(channel / columns) * stepDown + row;
    const x = (channel % columns) * stepRight + column;
    const strength = Math.max(0, value / strongest) ** CONTRAST;
    image.data[4 * (y * image.width + x) + 3] = PAPER + (255 - PAPER) * strength;
  });
  paint(canvas, image);
}

function paint(canvas, image) {
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}
