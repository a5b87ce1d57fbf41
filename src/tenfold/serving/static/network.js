/**
 * The network in plain JavaScript: from 28 × 28 pixels to the probability of each class.
 *
 * An image or a stack of feature maps is {values: Float32Array, channels, height, width}, channel
 * after channel, row after row.
 *
 * @typedef {{values: Float32Array, channels: number, height: number, width: number}} Maps
 * @typedef {{kind: string, weights?: Float32Array, bias?: Float32Array, shape?: number[],
 *   stride?: number, padding?: number, relu?: boolean, size?: number}} Layer
 * @typedef {{sampling: {rows: number[], columns: number[]} | null, mean: number, std: number,
 *   layers: Layer[]}} Member
 * @typedef {{classes: string[], imageSize: number, temperature: number, sureThreshold: number,
 *   digitThreshold: number, members: Member[]}} Network
 */

const SMALLEST = 1.1754944e-38; // the smallest normal float32; the logarithm of 0 is infinite

/** Read the JSON that `tenfold.serving.browser_network` writes. @returns {Network} */
export function readNetwork(json) {
  const readLayer = (layer) =>
    layer.weights
      ? { ...layer, weights: readArray(layer.weights), bias: readArray(layer.bias) }
      : layer;
  return {
    classes: json.classes,
    imageSize: json.image_size,
    temperature: json.temperature,
    sureThreshold: json.sure_threshold,
    digitThreshold: json.digit_threshold,
    members: json.members.map((member) => ({ ...member, layers: member.layers.map(readLayer) })),
  };
}

/** @param {{dtype: string, base64: string}} array @returns {Float32Array} */
function readArray({ dtype, base64 }) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return dtype === "float16"
    ? Float32Array.from(new Uint16Array(bytes.buffer), fromFloat16)
    : new Float32Array(bytes.buffer);
}

/** The number whose 16 bits, as IEEE 754 has them, are `bits`. */
function fromFloat16(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return exponent
    ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024)
    : sign * 2 ** -14 * (fraction / 1024);
}

/**
 * The probability of each class.
 * @param {Network} network
 * @param {Uint8Array} pixels 0…255, bright ink on black, row after row
 * @returns {Float64Array}
 */
export function predict(network, pixels) {
  return trace(network, pixels).probabilities;
}

/**
 * The same with what each layer of the first member gave; the first maps are the image it sees.
 * @param {Network} network
 * @param {Uint8Array} pixels
 * @returns {{probabilities: Float64Array, maps: Maps[]}}
 */
export function trace({ members, classes, temperature }, pixels) {
  const maps = members.map((member) => runLayers(member, pixels));
  const mean = new Float64Array(classes.length);
  for (const each of maps) {
    softmax(each[each.length - 1].values).forEach((probability, index) => {
      mean[index] += probability / members.length;
    });
  }
  const logits = mean.map((each) => Math.log(Math.max(each, SMALLEST)) / temperature);
  return { probabilities: softmax(logits), maps: maps[0] };
}

/** What each layer of a member gives, after the image that it sees. @returns {Maps[]} */
function runLayers(member, pixels) {
  const found = [prepare(member, pixels)];
  for (const layer of member.layers) found.push(LAYERS[layer.kind](found[found.length - 1], layer));
  return found;
}

/** Sample, zoom and scale the pixels as in training. @returns {Maps} */
function prepare({ sampling, mean, std }, pixels) {
  const side = Math.sqrt(pixels.length);
  const sampled = sampling ? sample(pixels, side, sampling) : Float32Array.from(pixels);
  return {
    values: sampled.map((value) => (value / 255 - mean) / std),
    channels: 1,
    height: sampling ? sampling.rows.length : side,
    width: sampling ? sampling.columns.length : side,
  };
}

/**
 * Read an image between its pixels, bilinearly, with black around it.
 * @param {ArrayLike<number>} pixels side × side
 * @param {number} side
 * @param {{rows: number[], columns: number[]}} positions from -1 to 1, from edge to edge
 * @returns {Float32Array}
 */
function sample(pixels, side, { rows, columns }) {
  const toPixel = (position) => ((position + 1) * side - 1) / 2;
  const at = (row, column) =>
    row < 0 || column < 0 || row >= side || column >= side ? 0 : pixels[row * side + column];
  const found = new Float32Array(rows.length * columns.length);
  rows.map(toPixel).forEach((y, i) => {
    const top = Math.floor(y);
    columns.map(toPixel).forEach((x, j) => {
      const left = Math.floor(x);
      const upper = at(top, left) * (left + 1 - x) + at(top, left + 1) * (x - left);
      const lower = at(top + 1, left) * (left + 1 - x) + at(top + 1, left + 1) * (x - left);
      found[i * columns.length + j] = upper * (top + 1 - y) + lower * (y - top);
    });
  });
  return found;
}

const LAYERS = { convolution, max_pool: maxPool, global_max: globalMax, dense };

/**
 * Convolution with bias and, if asked, ReLU; batch normalisation is part of the weights.
 *
 * The patches under the kernel are gathered for four positions at a time: each weight is then
 * read once for four products, which made it 1.6 times as fast.
 * @param {Maps} input
 * @param {Layer} layer weights [filters, channels, side, side]
 * @returns {Maps}
 */
function convolution(input, { weights, bias, shape, stride, padding, relu }) {
  const [filters, channels, side] = shape;
  const height = Math.floor((input.height + 2 * padding - side) / stride) + 1;
  const width = Math.floor((input.width + 2 * padding - side) / stride) + 1;
  const area = height * width;
  const padded = pad(input, padding);
  const values = new Float32Array(filters * area);
  const length = channels * side * side;
  const patches = Array.from({ length: 4 }, () => new Float32Array(length));
  const sums = new Float64Array(4);
  for (let first = 0; first < area; first += 4) {
    const count = Math.min(4, area - first);
    for (let k = 0; k < count; k += 1) {
      const [row, column] = [Math.floor((first + k) / width), (first + k) % width];
      gather(patches[k], padded, side, stride * row, stride * column);
    }
    for (let filter = 0; filter < filters; filter += 1) {
      multiply(weights, filter * length, patches, sums);
      for (let k = 0; k < count; k += 1) {
        const sum = sums[k] + bias[filter];
        values[filter * area + first + k] = relu && sum < 0 ? 0 : sum;
      }
    }
  }
  return { values, channels: filters, height, width };
}

/** Zeros around every map. @param {Maps} input @param {number} by @returns {Maps} */
function pad(input, by) {
  if (!by) return input;
  const height = input.height + 2 * by;
  const width = input.width + 2 * by;
  const values = new Float32Array(input.channels * height * width);
  for (let row = 0; row < input.channels * input.height; row += 1) {
    const channel = Math.floor(row / input.height);
    const target = (channel * height + (row % input.height) + by) * width + by;
    values.set(input.values.subarray(row * input.width, (row + 1) * input.width), target);
  }
  return { values, channels: input.channels, height, width };
}

/** Copy the square of all channels at (top, left) into `patch`. */
function gather(patch, { values, channels, height, width }, side, top, left) {
  let to = 0;
  for (let channel = 0; channel < channels; channel += 1) {
    for (let row = 0; row < side; row += 1) {
      const from = (channel * height + top + row) * width + left;
      for (let column = 0; column < side; column += 1) patch[to++] = values[from + column];
    }
  }
}

/** The scalar products of four vectors with what starts at `start` in `weights`. */
function multiply(weights, start, [first, second, third, fourth], sums) {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let index = 0; index < first.length; index += 1) {
    const weight = weights[start + index];
    a += weight * first[index];
    b += weight * second[index];
    c += weight * third[index];
    d += weight * fourth[index];
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
}

/** The largest of each square of `size` × `size`. @returns {Maps} */
function maxPool(input, { size }) {
  const height = Math.floor(input.height / size);
  const width = Math.floor(input.width / size);
  const values = new Float32Array(input.channels * height * width).fill(-Infinity);
  for (let channel = 0; channel < input.channels; channel += 1) {
    for (let row = 0; row < height * size; row += 1) {
      for (let column = 0; column < width * size; column += 1) {
        const to = (channel * height + Math.floor(row / size)) * width + Math.floor(column / size);
        const value = input.values[(channel * input.height + row) * input.width + column];
        if (value > values[to]) values[to] = value;
      }
    }
  }
  return { values, channels: input.channels, height, width };
}

/** The largest value of each map. @param {Maps} input @returns {Maps} */
function globalMax({ values, channels }) {
  const area = values.length / channels;
  const largest = (channel) => Math.max(...values.subarray(channel * area, (channel + 1) * area));
  const found = Float32Array.from({ length: channels }, (_, channel) => largest(channel));
  return { values: found, channels, height: 1, width: 1 };
}

/** Fully connected. @param {Maps} input @param {Layer} layer @returns {Maps} */
function dense(input, { weights, bias, shape }) {
  const [units, inputs] = shape;
  const values = bias.map((start, unit) => {
    const row = weights.subarray(unit * inputs, (unit + 1) * inputs);
    return row.reduce((sum, weight, index) => sum + weight * input.values[index], start);
  });
  return { values, channels: units, height: 1, width: 1 };
}

/** Probabilities from logits. @param {ArrayLike<number>} logits @returns {Float64Array} */
function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Float64Array.from(logits, (each) => Math.exp(each - largest));
  const sum = powers.reduce((total, each) => total + each, 0);
  return powers.map((each) => each / sum);
}
