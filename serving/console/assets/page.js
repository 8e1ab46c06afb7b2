// The page: photos in by choice, drop, paste or camera; answers out as bars, with a strip of this session's photos.

import { offerCorrection } from "./corrections.js";
import { drawMap, prepare, thumbnail } from "./photos.js";
import { Refused, describeVersions, explain, listExamples, predict } from "./requests.js";

const AT_ONCE = 2, MOST_KEPT = 30, TOP = 5;
const byId = id => document.getElementById(id);
const parts = Object.fromEntries(
  ["drop", "choose", "camera", "channel", "answer", "frame", "photo", "map", "name", "legend", "result", "label", "sure", "unsure", "failed",
    "bars", "facts", "explain", "examples", "session", "strip", "live"].map(id => [id, byId(id)]),
);
let versions = describeVersions();
const kept = []; // the photos of this session, the newest first
const waiting = [];
let underWay = 0, shown = null;

const percent = share => `${(Math.floor(share * 1000 + 1e-6) / 10).toFixed(1)} %`;

/** An element with a text and classes; texts never become markup. */
function element(name, text = "", classes = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

// photos in

function take(files) {
  const taken = [...files].map(file => ({ file, name: file.name || "photo", state: "waiting", canvas: null, button: null }));
  if (!taken.length) return;
  for (const item of taken) {
    kept.unshift(item);
    addToStrip(item);
  }
  while (kept.length > MOST_KEPT) kept.pop().button.parentElement.remove();
  parts.drop.classList.add("used");
  parts.session.hidden = false;
  waiting.push(...taken);
  show(taken[0]);
  work();
}

function work() {
  while (underWay < AT_ONCE && waiting.length) {
    underWay += 1;
    answer(waiting.shift()).finally(() => {
      underWay -= 1;
      work();
    });
  }
}

async function answer(item) {
  item.state = "asked";
  try {
    const { blob, converted } = await prepare(item.file);
    Object.assign(item, { blob, converted });
    thumbnail(blob).then(canvas => setPicture(item, canvas), () => {});
    const channel = parts.channel.value;
    Object.assign(item, await predict(blob, { channel, top: await top(channel) }), { state: "answered" });
    if (!(await versions)[item.version]) versions = describeVersions(); // a newer one than this page knows
  } catch (error) {
    if (!(error instanceof Refused)) console.error(error);
    Object.assign(item, { state: "failed", error: error instanceof Refused ? error.message : "The page failed. Load it again." });
  }
  describe(item);
  parts.live.textContent = `${item.name}: ${summary(item)}`;
  if (item === shown) show(item);
}

/** How many classes to ask for: as many as every version has that can answer, at most `TOP`; 0: not known. */
async function top(channel) {
  const known = Object.values(await versions);
  const serving = known.filter(one => (channel ? one.channels.includes(channel) : one.channels.length));
  return Math.min(TOP, ...serving.map(one => one.classes)) * (serving.length > 0);
}

function summary(item) {
  if (item.state === "failed") return item.error;
  if (item.state !== "answered") return "waiting for the answer";
  const { label, probability, unsure } = item.prediction;
  return `${label}${probability === null ? "" : `, ${percent(probability)}`}${unsure ? ", unsure" : ""}`;
}

// the strip

function addToStrip(item) {
  const place = document.createElement("li");
  item.button = element("button");
  item.button.type = "button";
  item.picture = element("span", "…", "blank");
  item.text = element("span");
  item.button.append(item.picture, item.text);
  item.button.addEventListener("click", () => show(item));
  place.append(item.button);
  parts.strip.prepend(place);
  describe(item);
}

function setPicture(item, canvas) {
  item.picture.replaceWith(canvas);
  item.picture = canvas;
}

function describe(item) {
  if (item.state === "failed" && item.picture.tagName === "SPAN") item.picture.textContent = "!";
  const label = item.state === "answered" ? item.prediction.label + (item.prediction.unsure ? " ?" : "") : "";
  item.text.textContent = label || (item.state === "failed" ? "refused" : item.name);
  item.button.setAttribute("aria-label", `${item.name}: ${summary(item)}`);
  item.button.title = item.name;
}

// the answer

function show(item) {
  shown?.button.removeAttribute("aria-current");
  const other = shown !== item;
  shown = item;
  item.button.setAttribute("aria-current", "true");
  parts.answer.hidden = false;
  parts.result.classList.toggle("busy", item.state !== "answered" && item.state !== "failed");
  if (other || item.source !== (item.blob ?? null)) setPhoto(item);
  showResult(item);
}

function setPhoto(item) {
  if (parts.photo.src) URL.revokeObjectURL(parts.photo.src);
  item.source = item.blob ?? null;
  hideMap();
  parts.frame.hidden = !item.blob;
  if (item.blob) parts.photo.src = URL.createObjectURL(item.blob);
  else parts.photo.removeAttribute("src");
  parts.photo.alt = item.name;
  parts.name.textContent = item.name + (item.converted ? " (converted to PNG by this browser)" : "");
}

function showResult(item) {
  const answered = item.state === "answered", prediction = answered ? item.prediction : {};
  parts.label.textContent = answered ? prediction.label : item.state === "failed" ? "No answer" : "…";
  parts.sure.textContent = answered && prediction.probability !== null ? percent(prediction.probability) : "";
  parts.unsure.hidden = prediction.unsure !== true;
  parts.failed.hidden = item.state !== "failed";
  parts.failed.textContent = item.error ?? "";
  parts.bars.classList.toggle("unsure", prediction.unsure === true);
  const best = answered ? prediction.top ?? [prediction] : [];
  parts.bars.replaceChildren(...best.map(bar));
  parts.bars.hidden = !best.length;
  const facts = answered ? [`version ${item.version}`, ...(item.channel ? [item.channel] : []), `${Math.round(item.ms)} ms`] : [];
  parts.facts.replaceChildren(...facts.map(fact => element("li", fact, fact === item.channel ? item.channel : "")));
  parts.facts.hidden = !facts.length;
  offerMap(item);
  offerCorrection(item);
}

function bar({ label, probability }) {
  const item = document.createElement("li"), track = element("span", "", "bar"), filled = document.createElement("i");
  filled.style.inlineSize = `${100 * (probability ?? 0)}%`;
  track.append(filled);
  track.setAttribute("aria-hidden", "true");
  item.append(element("span", label, "name"), element("span", probability === null ? "–" : percent(probability)), track);
  return item;
}

async function offerMap(item) {
  parts.explain.hidden = true;
  parts.explain.setAttribute("aria-pressed", String(!parts.map.hidden));
  const known = (await versions)[item.version];
  if (item === shown && item.state === "answered") parts.explain.hidden = !known?.explain;
}

function hideMap() {
  parts.map.hidden = parts.legend.hidden = true;
}

async function toggleMap() {
  const item = shown;
  if (!parts.map.hidden) {
    hideMap();
  } else {
    parts.explain.disabled = true;
    try {
      item.map ??= await explain(item.blob, item.version);
      if (item === shown) {
        drawMap(parts.map, item.map, parts.photo, (await versions)[item.version].crop);
        parts.legend.textContent = `What speaks for ${item.prediction.label} is clear, all else is dark.`;
        parts.live.textContent = parts.legend.textContent;
        parts.map.hidden = parts.legend.hidden = false;
      }
    } catch (error) {
      parts.live.textContent = parts.failed.textContent = error.message;
      parts.failed.hidden = false;
    } finally {
      parts.explain.disabled = false;
      parts.explain.focus();
    }
  }
  parts.explain.setAttribute("aria-pressed", String(!parts.map.hidden));
}

// events

for (const input of [parts.choose, parts.camera]) {
  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // the same file again is a change, too
  });
}
addEventListener("paste", event => take(event.clipboardData?.files ?? []));
let depth = 0;
const hasFiles = event => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", event => {
  if (hasFiles(event)) parts.drop.classList.toggle("over", ++depth > 0);
});
addEventListener("dragleave", event => {
  if (hasFiles(event)) parts.drop.classList.toggle("over", --depth > 0);
});
addEventListener("dragover", event => {
  if (hasFiles(event)) event.preventDefault();
});
addEventListener("drop", event => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  depth = 0;
  parts.drop.classList.remove("over");
  take(event.dataTransfer.files);
});
parts.explain.addEventListener("click", toggleMap);
parts.channel.addEventListener("change", () => shown && take([shown.file])); // the same photo to another channel

listExamples().then(addresses => {
  addresses.forEach((address, place) => {
    const button = element("button"), picture = Object.assign(new Image(), { src: address, alt: `Example ${place + 1}` });
    button.type = "button";
    button.append(picture);
    button.addEventListener("click", async () => {
      const answer = await fetch(address);
      if (answer.ok) take([new File([await answer.blob()], `example ${place + 1}`)]);
    });
    parts.examples.append(button);
  });
  parts.examples.hidden = !addresses.length;
});

versions.then(known => {
  const channels = new Set(Object.values(known).flatMap(one => one.channels));
  for (const name of ["stable", "canary", "shadow", ...channels]) {
    if (channels.delete(name)) parts.channel.append(new Option(name, name));
  }
  parts.channel.closest("p").hidden = parts.channel.options.length < 3;
});
