// Requests to the model server's API and to the console, on this page's own origin.

const { api, model } = document.body.dataset;
const TIMEOUT_MS = 60000;

class Refused extends Error {}

/** The document of an answer; throws `Refused` with a sentence for people, which `say` makes of a status and an error. */
async function send(path, options, say = sentence) {
  let answer;
  try {
    answer = await fetch(path, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    throw new Refused(error.name === "TimeoutError" ? "The server did not answer in time. Try again."
      : "The server does not answer. Is it running? A very large file can also be the reason.");
  }
  const text = await answer.text();
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Refused(`The server answered ${answer.status} with something that is not JSON.`);
  }
  if (!answer.ok) throw new Refused(say(answer.status, String(document.error ?? "")));
  return { document, channel: answer.headers.get("x-orchard-channel") ?? "" };
}

function sentence(status, error) {
  const reason = error.split("\n")[0].slice(0, 300);
  if (status === 401) return "The server takes requests with a token only. Log in again.";
  if (status === 413) return `This file is larger than the server accepts. ${reason}`;
  if (status === 404) return `The server has no such model or channel. ${reason}`;
  if (status === 429 || status === 503) return `The server cannot answer now. Try again in a moment. ${reason}`;
  return `The model refused this file. ${reason}`;
}

/** What is known of the versions: `{"7": {channels, classes, explain}}`; empty if the registry cannot be read. */
export async function describeVersions() {
  try {
    return (await send("/console/api/model")).document.versions;
  } catch {
    return {};
  }
}

/** The addresses of example photos; none if the version has none, or they cannot be read. */
export async function listExamples() {
  try {
    return (await send("/console/api/examples")).document.photos;
  } catch {
    return [];
  }
}

/** Whether corrections are taken, and why not. */
export async function correctionsTaken() {
  try {
    return (await send("/console/api/corrections")).document;
  } catch {
    return { taken: false, reason: "" };
  }
}

/** The classes of a version; none if they are not known. */
export async function listLabels(version) {
  try {
    return (await send(`/console/api/labels/${encodeURIComponent(version)}`)).document.labels;
  } catch {
    return [];
  }
}

/** Send what a person says that a photo shows; the console's own sentences say why it is not kept. */
export async function sendCorrection(blob, claim) {
  const options = { method: "POST", body: blob, headers: { "Content-Type": blob.type } };
  const say = (status, error) => status === 401 ? sentence(status, error) : `${error.slice(0, 400)}.`;
  return (await send(`/console/api/corrections?${new URLSearchParams(claim)}`, options, say)).document;
}

/** The answer to one photo, sent as it is. `top`: how many classes to name, 0: the best alone. */
export async function predict(blob, { top, channel }) {
  const headers = { "Content-Type": blob.type, ...(channel && { "x-orchard-channel": channel }) };
  const begin = performance.now();
  const answer = await send(`${api}/models/${model}:predict${top ? `?top=${top}` : ""}`, { method: "POST", body: blob, headers });
  const prediction = answer.document.predictions?.[0];
  if (typeof prediction?.label !== "string") throw new Refused("The model's answer has no label.");
  return {
    prediction,
    version: answer.document.version,
    channel: answer.channel || answer.document.channel || "",
    ms: performance.now() - begin,
  };
}

/** What speaks for the label in each part of a photo: rows of numbers, from the same version. */
export async function explain(blob, version) {
  const row = { b64: await base64(blob) };
  const body = JSON.stringify({ signature_name: "explain", instances: [row] });
  const headers = { "Content-Type": "application/json" };
  const { document } = await send(`${api}/models/${model}/versions/${version}:predict`, { method: "POST", body, headers });
  const map = document.predictions?.[0]?.map;
  if (!Array.isArray(map?.[0])) throw new Refused("The model's answer has no map.");
  return map;
}

function base64(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(new Refused("This file cannot be read."));
    reader.readAsDataURL(blob);
  });
}

export { Refused };
