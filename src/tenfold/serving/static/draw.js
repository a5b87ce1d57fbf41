/**
 * The pad: strokes of mouse, pen, finger or keyboard on a canvas.
 *
 * @typedef {{x: number, y: number}} Point in units of the pad, 400 × 320
 * @typedef {{width: number, points: Point[]}} Stroke
 */

export const WIDTH = 400;
export const HEIGHT = 320;
const KEY_STEP = 10; // units that an arrow key moves the pen
const FINE_STEP = 2; // with Shift
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** A canvas to draw on. `onChange` is called after each change, `onStart` as a stroke begins. */
export class Pad {
  /** @type {Stroke[]} */
  strokes = [];
  strokeWidth = 16;
  /** @type {Point} */
  cursor = { x: WIDTH / 2, y: HEIGHT / 4 };
  #pointer = null; // the id of the one that draws
  #penIsDown = false; // of the keyboard

  /** @param {HTMLCanvasElement} canvas @param {{onStart: () => void, onChange: () => void}} on */
  constructor(canvas, { onStart, onChange }) {
    this.canvas = canvas;
    this.onStart = onStart;
    this.onChange = onChange;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => this.#release(event));
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#liftPen());
  }

  /** Whether a stroke is being drawn. */
  get isDrawing() {
    return this.#pointer !== null || this.#penIsDown;
  }

  /** Whether the keyboard's pen draws. */
  get penIsDown() {
    return this.#penIsDown;
  }

  undo() {
    this.#liftPen();
    this.strokes.pop();
    this.onChange();
  }

  clear() {
    this.#liftPen();
    this.#pointer = null;
    this.strokes = [];
    this.onChange();
  }

  #press(event) {
    if (this.#pointer !== null || event.button !== 0) return;
    this.#pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.#begin(this.#position(event));
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) return;
    // A fast pen moves several times between two frames.
    const all = event.getCoalescedEvents?.() ?? [];
    for (const each of all.length ? all : [event]) this.#extend(this.#position(each));
    this.onChange();
  }

  #release(event) {
    if (event.pointerId !== this.#pointer) return;
    this.#pointer = null;
    this.onChange();
  }

  /** Arrows move the pen, Space lowers and lifts it, Backspace undoes, Delete clears. */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in MOVES) this.#step(MOVES[event.key], event.shiftKey ? FINE_STEP : KEY_STEP);
    else if (event.key === " ") this.#penIsDown ? this.#liftPen() : this.#lowerPen();
    else if (event.key === "Backspace") this.undo();
    else if (event.key === "Delete") this.clear();
    else return;
    event.preventDefault();
  }

  #step([right, down], by) {
    const clip = (value, most) => Math.min(Math.max(value, 0), most);
    this.cursor = {
      x: clip(this.cursor.x + by * right, WIDTH),
      y: clip(this.cursor.y + by * down, HEIGHT),
    };
    if (this.#penIsDown) this.#extend(this.cursor);
    this.onChange();
  }

  #lowerPen() {
    this.#penIsDown = true;
    this.#begin(this.cursor);
  }

  #liftPen() {
    if (!this.#penIsDown) return;
    this.#penIsDown = false;
    this.onChange();
  }

  #begin(point) {
    this.onStart();
    this.strokes.push({ width: this.strokeWidth, points: [point] });
    this.onChange();
  }

  #extend(point) {
    this.strokes[this.strokes.length - 1]?.points.push(point);
  }

  /** @returns {Point} */
  #position(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - left) * WIDTH) / width,
      y: ((event.clientY - top) * HEIGHT) / height,
    };
  }
}

/**
 * Draw strokes, smoothly and with round ends.
 * @param {CanvasRenderingContext2D} context whose colour is set
 * @param {Stroke[]} strokes
 */
export function drawStrokes(context, strokes) {
  context.lineCap = context.lineJoin = "round";
  for (const { width, points } of strokes) {
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(points[0].x, points[0].y);
    for (let index = 1; index + 1 < points.length; index += 1) {
      const [here, next] = [points[index], points[index + 1]];
      context.quadraticCurveTo(here.x, here.y, (here.x + next.x) / 2, (here.y + next.y) / 2);
    }
    const last = points[points.length - 1];
    context.lineTo(last.x, last.y); // of a single point it makes a dot
    context.stroke();
  }
}

const inkCanvas = () => {
  const canvas = document.createElement("canvas");
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  return canvas.getContext("2d", { willReadFrequently: true });
};
let inkContext = null;

/**
 * The ink of strokes: how much of each unit of the pad they cover.
 * @param {Stroke[]} strokes
 * @returns {import("./ink.js").Ink}
 */
export function inkOfStrokes(strokes) {
  inkContext ??= inkCanvas();
  inkContext.clearRect(0, 0, WIDTH, HEIGHT);
  drawStrokes(inkContext, strokes);
  const { data } = inkContext.getImageData(0, 0, WIDTH, HEIGHT);
  const values = new Float32Array(WIDTH * HEIGHT);
  for (let index = 0; index < values.length; index += 1) values[index] = data[4 * index + 3] / 255;
  return { values, width: WIDTH, height: HEIGHT };
}
