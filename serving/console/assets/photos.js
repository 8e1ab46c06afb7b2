// Photos in the browser: what is sent, small pictures of them, and the map of what the network looked at.

import { Refused } from "./requests.js";

const JPEG = [0xff, 0xd8, 0xff], PNG = [0x89, 0x50, 0x4e, 0x47];
const THUMBNAIL = 196;

/**
 * What is sent for a file: a JPEG or PNG as it is, whatever its name says. Other photos that the browser can read become a
 * PNG. Throws `Refused`.
 */
export async function prepare(file) {
  let head;
  try {
    head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  } catch {
    throw new Refused("This file cannot be read any more. Choose it again.");
  }
  const begins = bytes => bytes.every((byte, place) => head[place] === byte);
  if (begins(JPEG)) return { blob: new Blob([file], { type: "image/jpeg" }), converted: false };
  if (begins(PNG)) return { blob: new Blob([file], { type: "image/png" }), converted: false };
  const picture = await decode(file);
  const canvas = canvasOf(picture.width, picture.height);
  canvas.getContext("2d").drawImage(picture, 0, 0);
  const blob = await new Promise(done => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Refused("This photo is too large for the browser to convert.");
  return { blob, converted: true };
}

async function decode(blob) {
  try {
    return await createImageBitmap(blob);
  } catch {
    throw new Refused("This is not a photo that the browser can read. Choose a JPEG or PNG file.");
  }
}

function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** A small square picture of a photo. Throws `Refused`. */
export async function thumbnail(blob) {
  const picture = await decode(blob), side = Math.min(picture.width, picture.height);
  const canvas = canvasOf(THUMBNAIL, THUMBNAIL);
  const place = [(picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, THUMBNAIL, THUMBNAIL];
  canvas.getContext("2d").drawImage(picture, ...place);
  picture.close();
  return canvas;
}

/**
 * Draw a map over a photo: parts that speak for the label stay clear, all others are covered. With `crop` the network saw
 * only the square in the middle.
 */
export function drawMap(canvas, map, picture, crop) {
  const height = map.length, width = map[0].length, numbers = map.flat();
  const most = Math.max(...numbers, 1e-6);
  const small = canvasOf(width, height), pixels = new ImageData(width, height);
  numbers.forEach((number, place) => {
    const speaks = Math.max(0, number) / most;
    pixels.data.set([16, 20, 17, Math.round(215 * (1 - speaks) ** 1.5)], 4 * place);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const scale = 480 / Math.max(picture.naturalWidth, picture.naturalHeight);
  const sides = [picture.naturalWidth, picture.naturalHeight].map(side => Math.max(1, Math.round(side * scale)));
  Object.assign(canvas, { width: sides[0], height: sides[1] });
  const context = canvas.getContext("2d"), side = Math.min(...sides);
  const [wide, high] = crop ? [side, side] : sides;
  const left = (sides[0] - wide) / 2, top = (sides[1] - high) / 2;
  context.fillStyle = "rgb(16 20 17 / 0.84)";
  context.fillRect(0, 0, ...sides);
  context.clearRect(left, top, wide, high);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, width, height, left, top, wide, high);
}
