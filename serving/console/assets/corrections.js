// "This is wrong": what a person says that a photo shows goes to the console, with the photo, and waits there for review.

import { Refused, correctionsTaken, listLabels, sendCorrection } from "./requests.js";

const byId = id => document.getElementById(id);
const parts = Object.fromEntries(
  ["wrong", "correct", "said", "labels", "send", "cancel", "refused", "thanks", "untaken"].map(id => [id, byId(id)]),
);
const taking = correctionsTaken();
let shown = null;

/** Offer to correct the answer to a photo, or show what has become of that. */
export async function offerCorrection(item) {
  if (item !== shown) close();
  shown = item;
  const answered = item.state === "answered" && Boolean(item.version);
  const { taken, reason } = await taking;
  if (item !== shown) return;
  parts.wrong.hidden = !(answered && taken) || Boolean(item.corrected) || !parts.correct.hidden;
  parts.untaken.hidden = !answered || taken || !reason;
  parts.untaken.textContent = reason;
  parts.thanks.hidden = !(answered && item.corrected);
  parts.thanks.textContent = `Thank you. The photo waits for review as “${item.corrected}”: people look at it before a model `
    + "learns from it. Its place, date and camera were removed.";
}

function close() {
  parts.correct.hidden = parts.refused.hidden = true;
  parts.said.value = "";
}

async function open() {
  const item = shown, { label, top } = item.prediction;
  parts.wrong.hidden = true;
  parts.correct.hidden = false;
  parts.said.focus();
  const likely = (top ?? []).map(one => one.label), all = await listLabels(item.version);
  const names = new Set([...likely.filter(name => all.includes(name)), ...all]);
  names.delete(label);
  if (item === shown) parts.labels.replaceChildren(...[...names].map(name => new Option(name, name)));
}

function abandon() {
  close();
  parts.wrong.hidden = false;
  parts.wrong.focus();
}

async function submit(event) {
  event.preventDefault();
  const item = shown;
  parts.send.disabled = true;
  parts.refused.hidden = true;
  try {
    item.corrected = (await sendCorrection(item.blob, { label: parts.said.value, version: item.version, channel: item.channel })).label;
    if (item !== shown) return;
    close();
    await offerCorrection(item);
    parts.thanks.focus();
  } catch (error) {
    if (!(error instanceof Refused)) console.error(error);
    if (item !== shown) return;
    parts.refused.textContent = error instanceof Refused ? error.message : "The page failed. Load it again.";
    parts.refused.hidden = false;
    parts.said.focus();
  } finally {
    parts.send.disabled = false;
  }
}

parts.wrong.addEventListener("click", open);
parts.cancel.addEventListener("click", abandon);
parts.correct.addEventListener("submit", submit);
parts.correct.addEventListener("keydown", event => event.key === "Escape" && abandon());
