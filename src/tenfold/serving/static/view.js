/** What the page shows of the answers: headline, bars, boxes, and how a digit was read. */

import { describe, percent } from "./decision.js";
import { HEIGHT, WIDTH, drawStrokes } from "./draw.js";
import { paintImportance, paintMaps, paintPixels } from "./paint.js";

const N_STAGES = 3; // convolutions whose maps are shown
const MAP_COLUMNS = 24;

/** @returns {HTMLElement} */
export const element = (id) => document.getElementById(id);

/** A new element with attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => found.setAttribute(name, value));
  found.append(...children);
  return found;
}

/** Show the digits in a row; with several, each is a button, to select it. */
export function showHeadline(digits, selected) {
  const headline = element("headline");
  headline.classList.toggle("many", digits.length > 1);
  const kind = ({ decision }) => (decision === "sure" ? "sure" : "doubtful");
  const text = ({ decision, label }) => (decision === "no digit" ? "?" : label);
  if (digits.length < 2) {
    const [only] = digits;
    const shown = only
      ? make("span", { class: kind(only.answer) }, text(only.answer))
      : make("span", { class: "none", "aria-hidden": "true" });
    headline.replaceChildren(shown);
    return;
  }
  // Buttons that are there already stay: one of them may be under the pointer or have the focus.
  const known = [...headline.querySelectorAll("button")].slice(0, digits.length);
  const fresh = digits.slice(known.length).map(() => make("button", { type: "button" }));
  if (fresh.length || known.length < headline.children.length) {
    headline.replaceChildren(...known, ...fresh);
  }
  digits.forEach(({ answer }, index) => {
    const button = headline.children[index];
    button.className = kind(answer);
    button.textContent = text(answer);
    button.setAttribute("aria-label", `Digit ${index + 1} of ${digits.length}: ${text(answer)}`);
    button.setAttribute("aria-pressed", String(index === selected));
  });
}

/** Show the probabilities as bars; without an answer they are empty. */
export function showBars(classes, answer) {
  const bars = element("bars");
  if (!bars.children.length) bars.append(...classes.map(makeBar));
  [...bars.children].forEach((bar, index) => {
    const probability = answer?.probabilities[index] ?? 0;
    bar.classList.toggle("first", answer?.ranking[0] === index);
    bar.querySelector(".fill").style.width = `${100 * probability}%`;
    bar.querySelector(".value").textContent = answer ? percent(probability) : "";
  });
}

function makeBar(name) {
  const track = make("span", { class: "track" }, make("span", { class: "fill" }));
  return make("li", {}, make("span", {}, name), track, make("span", { class: "value" }));
}

/** One sentence about what was read. */
export function summarize({ digits, selected, picture }, classes) {
  if (!digits.length) return picture ? "No ink in this picture" : "No ink yet";
  const sentence = describe(digits[selected].answer, classes);
  return digits.length === 1 ? sentence : `Digit ${selected + 1} of ${digits.length}. ${sentence}`;
}

/**
 * Draw the pad: the picture or the strokes, boxes around several digits, the keyboard's pen.
 * @param {HTMLCanvasElement} canvas
 */
export function drawPad(canvas, { strokes, picture, digits, selected, cursor }) {
  const { width } = canvas.getBoundingClientRect();
  const scale = ((width || WIDTH) * devicePixelRatio) / WIDTH;
  canvas.width = Math.round(WIDTH * scale);
  canvas.height = Math.round(HEIGHT * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  context.strokeStyle = context.fillStyle = style.color;
  if (picture) context.drawImage(picture.bitmap, ...picture.place);
  drawStrokes(context, strokes);
  const accent = style.getPropertyValue("--accent");
  if (digits.length > 1 || picture) {
    digits.forEach((digit, index) => drawBox(context, digit, accent, index === selected));
  }
  if (cursor) drawCursor(context, cursor, accent);
}

function drawBox(context, { box, answer }, colour, isSelected) {
  const gap = 7;
  const [x, y] = [box.left - gap, box.top - gap];
  const [width, height] = [box.right - box.left + 2 * gap, box.bottom - box.top + 2 * gap];
  context.strokeStyle = context.fillStyle = colour;
  context.globalAlpha = isSelected ? 1 : 0.55;
  context.lineWidth = isSelected ? 2 : 1.2;
  context.beginPath();
  context.roundRect(x, y, width, height, 5);
  context.stroke();
  context.font = "600 13px system-ui, sans-serif";
  context.fillText(answer.decision === "no digit" ? "?" : answer.label, x + 2, Math.max(y - 4, 12));
  context.globalAlpha = 1;
}

function drawCursor(context, { x, y, isDown }, colour) {
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.stroke();
  if (isDown) context.fill();
}

/** Show what the network sees of a digit, and the maps of its first stages. */
export function showInside(network, digit) {
  paintPixels(element("seen"), digit.pixels);
  const isStage = (_, index) => network.members[0].layers[index].kind === "convolution";
  const shown = digit.maps.slice(1).filter(isStage).slice(0, N_STAGES);
  const stages = element("stages");
  while (stages.children.length < shown.length) stages.append(makeStage());
  shown.forEach((each, index) => {
    const [canvas, caption] = stages.children[index].children;
    paintMaps(canvas, each, Math.min(MAP_COLUMNS, Math.ceil(each.channels / 2)));
    const name = `Stage ${index + 1}.`;
    const text = `${each.channels} feature maps, ${each.height} × ${each.width}${index ? "." : ": where a filter found its pattern."}`;
    canvas.setAttribute("aria-label", `${name} ${text}`);
    caption.replaceChildren(make("b", {}, name), ` ${text}`);
  });
}

function makeStage() {
  return make("figure", {}, make("canvas", { role: "img" }), make("figcaption"));
}

/** Show which strokes decided; while that is computed, the digit alone. */
export function showExplanation(digit, explanation) {
  paintImportance(element("decided"), digit.pixels, explanation?.importance);
  element("decided").setAttribute("aria-busy", String(!explanation));
  const { label } = digit.answer;
  const without = explanation?.without;
  const more = without ? ` Without the most orange part it would be ${without}.` : "";
  element("because").textContent = `Orange speaks for ${label}, blue against it.${more}`;
}
