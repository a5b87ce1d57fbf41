/** The page: what is drawn or dropped is read at once, and all that follows is shown. */

import { decide } from "./decision.js";
import { HEIGHT, Pad, WIDTH, inkOfStrokes } from "./draw.js";
import { explain } from "./explain.js";
import { count, download, keep, toCsv } from "./feedback.js";
import { crop } from "./ink.js";
import { readNetwork, trace } from "./network.js";
import { toMnist } from "./normalize.js";
import { findInk } from "./picture.js";
import { findDigits } from "./segment.js";
import { drawPad, element, make, showBars, showExplanation, showHeadline, showInside, summarize } from "./view.js";

/**
 * @typedef {{box: import("./ink.js").Box, pixels: Uint8Array,
 *   answer: import("./decision.js").Answer, maps: import("./network.js").Maps[]}} ReadDigit
 * @typedef {{bitmap: ImageBitmap, place: number[]}} Picture place is x, y, width and height on the
 *   pad
 */

const SETTLED_MS = 250; // after the last change: explain, and tell screen readers
const PICTURE_SIDE = 640; // pixels of the long side that are searched for digits

const json = JSON.parse(element("model").textContent);
const network = readNetwork(json);
const state = {
  /** @type {ReadDigit[]} */ digits: [],
  selected: 0,
  /** @type {import("./explain.js").Explanation | null} */ explanation: null,
  /** @type {Picture | null} */ picture: null,
  version: 0, // counts changes, so that what was computed for an older one is dropped
  collects: false,
};
let traces = new Map(); // of the last reading, by pixels: only what changed is computed
let isScheduled = false;
let timer = 0;

const pad = new Pad(element("pad"), { onStart: leavePicture, onChange: scheduleReading });

/** Read the pad before the next frame. */
function scheduleReading() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    if (!state.picture) setDigits(readInk(inkOfStrokes(pad.strokes)));
  });
}

/** @param {import("./ink.js").Ink} ink @returns {ReadDigit[]} */
function readInk(ink) {
  const known = traces;
  traces = new Map();
  return findDigits(ink).map((digit) => {
    const pixels = toMnist(digit.ink);
    const key = String.fromCharCode(...pixels);
    const found = known.get(key) ?? trace(network, pixels);
    traces.set(key, found);
    const answer = decide(network, found.probabilities);
    return { box: digit.box, pixels, answer, maps: found.maps };
  });
}

/** Show digits; the last one is selected, as it is the one being drawn. */
function setDigits(digits) {
  state.digits = digits;
  select(digits.length - 1);
}

function select(index) {
  state.selected = Math.max(index, 0);
  element("thanks").textContent = "";
  state.explanation = null;
  state.version += 1;
  show();
  clearTimeout(timer);
  timer = setTimeout(settle, SETTLED_MS);
}

function show() {
  const { digits, selected, picture, explanation } = state;
  const digit = digits[selected];
  showPad();
  element("hint").hidden = pad.strokes.length > 0 || picture !== null;
  element("undo").disabled = pad.strokes.length === 0;
  element("clear").disabled = pad.strokes.length === 0 && picture === null;
  showHeadline(digits, selected);
  showBars(network.classes, digit?.answer);
  element("verdict").textContent = summarize(state, network.classes);
  element("inside").hidden = element("feedback").hidden = !digit;
  if (!digit) return;
  element("which").textContent = digits.length > 1 ? `digit ${selected + 1}` : "it";
  showInside(network, digit);
  showExplanation(digit, explanation);
}

function showPad() {
  const hasKeyboard = pad.canvas.matches(":focus-visible");
  const cursor = hasKeyboard ? { ...pad.cursor, isDown: pad.penIsDown } : null;
  drawPad(pad.canvas, { ...state, strokes: pad.strokes, cursor });
}

/** Once nothing has changed for a while: say the answer, and explain it. */
async function settle() {
  if (pad.isDrawing && !pad.penIsDown) {
    timer = setTimeout(settle, SETTLED_MS);
    return;
  }
  const { digits, selected, version } = state;
  const text = digits.map(({ answer }) => (answer.decision === "no digit" ? "?" : answer.label));
  const summary = summarize(state, network.classes);
  element("status").textContent = digits.length > 1 ? `${text.join(" ")}. ${summary}` : summary;
  if (!digits.length) return;
  const digit = digits[selected];
  const explanation = await explain(network, digit.pixels, () => version !== state.version);
  if (!explanation) return;
  state.explanation = explanation;
  showExplanation(digit, explanation);
}

// Pictures

function leavePicture() {
  state.picture = null;
}

/** Read a picture of the user. @param {Blob} file */
async function readPicture(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) {
    const message = "This browser cannot open that as a picture";
    element("verdict").textContent = element("status").textContent = message;
    return;
  }
  pad.clear();
  const scale = Math.min(WIDTH / bitmap.width, HEIGHT / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const place = [(WIDTH - width) / 2, (HEIGHT - height) / 2, width, height];
  state.picture = { bitmap, place };
  const ink = inkOfPicture(bitmap);
  const own = () => readInk(ink).map((digit) => onPad(digit, place, ink.width));
  const digits = (await askServer(file, ink, bitmap.width, place)) ?? own();
  if (state.picture?.bitmap === bitmap) setDigits(digits); // unless it was left meanwhile
}

function inkOfPicture(bitmap) {
  const scale = Math.min(1, PICTURE_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.ceil(side * scale));
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white"; // what is transparent is paper
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  return findInk(context.getImageData(0, 0, width, height).data, width, height);
}

/** Move a digit's box from a picture of some width to the pad. */
function onPad(digit, [x, y, width], pictureWidth) {
  const scale = width / pictureWidth;
  const { left, top, right, bottom } = digit.box;
  const box = { left: x + left * scale, top: y + top * scale, right: x + right * scale, bottom: y + bottom * scale };
  return { ...digit, box };
}

/**
 * Let the server read a picture; it knows shadows, ruled lines and touching digits.
 * @returns {Promise<ReadDigit[] | null>} null without a server, or if it did not answer
 */
async function askServer(file, ink, pictureWidth, place) {
  if (!json.server) return null;
  const headers = { "Content-Type": file.type || "application/octet-stream" };
  const body = await file.arrayBuffer();
  const response = await fetch("/v1/predict", { method: "POST", headers, body }).catch(() => null);
  if (!response?.ok) return null;
  const scale = ink.width / pictureWidth;
  const [{ digits }] = (await response.json()).pictures;
  return digits.map((found) => {
    const [left, top, right, bottom] = found.box;
    const inInk = [left, top, right, bottom].map((edge) => Math.round(edge * scale));
    const inside = { left: inInk[0], top: inInk[1], right: inInk[2], bottom: inInk[3] };
    const pixels = toMnist(crop(ink, inside)); // the server's own are not in its answer
    const probabilities = network.classes.map((name) => found.probabilities[name]);
    const answer = { ...decide(network, probabilities), decision: found.decision };
    const { maps } = trace(network, pixels);
    return onPad({ box: { left, top, right, bottom }, pixels, answer, maps }, place, pictureWidth);
  });
}

// Controls

function connectControls() {
  element("undo").addEventListener("click", () => pad.undo());
  element("clear").addEventListener("click", clear);
  element("width").addEventListener("input", (event) => {
    pad.strokeWidth = Number(event.target.value);
  });
  element("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = ""; // so that the same file can be chosen again
    if (file) readPicture(file);
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) readPicture(file);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z") pad.undo();
  });
  element("headline").addEventListener("click", ({ target, currentTarget }) => {
    const index = [...currentTarget.children].indexOf(target);
    if (target.matches("button")) select(index);
  });
  pad.canvas.addEventListener("focus", showPad);
  pad.canvas.addEventListener("blur", showPad);
  addEventListener("resize", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  connectDrop(element("drop"));
}

function clear() {
  leavePicture();
  pad.clear();
}

function connectDrop(target) {
  const mark = (isOver) => (event) => {
    event.preventDefault();
    target.classList.toggle("over", isOver);
  };
  document.addEventListener("dragover", mark(true));
  document.addEventListener("dragleave", mark(false));
  document.addEventListener("drop", (event) => {
    mark(false)(event);
    const [file] = event.dataTransfer.files;
    if (file) readPicture(file);
  });
}

function connectFeedback() {
  const buttons = network.classes.map((name) => {
    const button = make("button", { type: "button", "aria-label": `It is a ${name}` }, name);
    button.addEventListener("click", async () => {
      const { pixels } = state.digits[state.selected];
      element("thanks").textContent = await keep(pixels, name, state.collects);
      element("download").hidden = state.collects;
      element("download").textContent = `Download ${count()} as CSV`;
    });
    return button;
  });
  element("labels").append(...buttons);
  element("download").addEventListener("click", () => download("corrections.csv", toCsv()));
}

/** Ask the server whether it collects corrections. */
async function connectServer() {
  if (!json.server) return;
  const response = await fetch("/v1/model").catch(() => null);
  state.collects = response?.ok ? (await response.json()).collects : false;
}

element("about").textContent = json.about;
connectControls();
connectFeedback();
connectServer();
scheduleReading();
