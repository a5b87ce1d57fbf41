/** Corrections: "it is a …", kept as rows of Kaggle's shape, by the server or as a download. */

import { SIZE } from "./normalize.js";

/** @type {{label: string, pixels: Uint8Array}[]} */
const kept = [];

/**
 * Keep a corrected digit.
 * @param {Uint8Array} pixels 28 × 28
 * @param {string} label
 * @param {boolean} collects whether the server takes it
 * @returns {Promise<string>} what happened, for the user
 */
export async function keep(pixels, label, collects) {
  if (!collects) {
    kept.push({ label, pixels: pixels.slice() });
    return `Kept as ${label}. ${count()} to download.`;
  }
  const response = await fetch("/v1/feedback", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ pixels: rowsOf(pixels), label }),
  }).catch(() => null);
  return response?.ok ? `Thank you: the server keeps it as ${label}.` : "The server did not take it.";
}

/** @param {Uint8Array} pixels @returns {number[][]} */
function rowsOf(pixels) {
  return Array.from({ length: SIZE }, (_, row) => [...pixels.subarray(row * SIZE, (row + 1) * SIZE)]);
}

/** "2 digits". */
export function count() {
  return kept.length === 1 ? "1 digit" : `${kept.length} digits`;
}

/** The table of all that was kept: label,pixel0,…,pixel783. */
export function toCsv() {
  const header = ["label", ...Array.from({ length: SIZE * SIZE }, (_, index) => `pixel${index}`)];
  const rows = kept.map(({ label, pixels }) => [label, ...pixels].join(","));
  return `${[header.join(","), ...rows].join("\n")}\n`;
}

/** Save text as a file of the user. */
export function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
