// Classify an image file in the page as `galaxymorph predict` does.

import { framed } from "./framing.js";
import { finding } from "./looks.js";
import { forward, load } from "./network.js";
import { cutout } from "./resample.js";

const ADVICE = "save it as a PNG with 8 bits per band, or use `galaxymorph predict`";
const SHRUNK =
  "a large JPEG, which `galaxymorph predict` shrinks while it decodes it: of real galaxies of " +
  "424 px, 1 in 100 gets another class there; a PNG file gets the same";

/** Make a function that classifies an image file (a `File` or `Blob`) with an exported model.
 *
 * It returns, once the file is decoded,
 *   classes, probabilities: names, and numbers that sum to 1
 *   label: the most probable class; "" for a galaxy unlike those of the training
 *   set: all classes that the galaxy may have; empty if it is unlike, null if the model has no sets
 *   unlike: distance from the training galaxies, above 1 for an unlike one; null if unknown
 *   votes: 37 cumulative vote fractions, or null
 *   features: what the heads were given; for neighbours and the place on a map
 *   cutout: {width, height, data}, what the network saw, with interleaved bytes of three bands
 *   remarks: sentences on what was done to the picture, and what is wrong with it
 *
 * It throws an `Error` with a sentence for a file that the browser cannot read as Pillow does.
 * Three differences remain: a large JPEG is not shrunk while it is decoded (`data/cutouts.py`),
 * which is remarked; one that is damaged inside is not recognised; and pictures are turned by their
 * EXIF orientation before they are cut. Of an animation the first frame is read. */
export function classifier(model) {
  const network = load(model);
  return (file) => classify(file, network);
}

async function classify(file, network) {
  const { picture, remarks, jpeg } = await decoded(file, network.megapixels);
  let { crop } = network;
  if (jpeg && isShrunk(picture, network)) remarks.push(SHRUNK);
  if (crop === "auto") {
    crop = framed(picture, network.framing);
    if (crop === null) remarks.push(network.unframed);
  }
  const cut = cutout(picture, network.image_size, crop);
  const found = finding(cut, network.looks);
  if (found === "blank") throw new Error(network.looks.remarks[found]);
  if (found) remarks.push(network.looks.remarks[found]);
  return { ...judged(cut, network), cutout: cut, remarks };
}

/** Tell whether `predict` decodes a JPEG at half its size or less (`Image.draft`). */
function isShrunk({ width, height }, { crop, image_size: size, jpeg_pixels: least }) {
  if (crop === "auto") return false;
  const part = (least * size) / (crop ?? Math.min(width, height));
  const factor = (side) => Math.floor(side / Math.ceil(part * side));
  return Math.min(factor(width), factor(height)) >= 2;
}

/** Predict a cutout. */
function judged(cut, network) {
  const { features, probabilities, votes, distance } = forward(network, cut);
  const { classes } = network;
  const { least } = network.calibration;
  const best = probabilities.indexOf(Math.max(...probabilities));
  const known = !(distance > 1);
  const inSet = (_, place) => known && (place === best || probabilities[place] >= least[place]);
  return {
    classes,
    probabilities: [...probabilities],
    label: known ? classes[best] : "",
    set: least && classes.filter(inSet),
    unlike: distance,
    votes: votes && [...votes],
    features,
  };
}

/** Decode a file without changing its colours; lay transparent pixels on black. */
async function decoded(file, megapixels) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  checkSize(...stated(bytes), megapixels);
  let bitmap;
  try {
    const as = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    bitmap = await createImageBitmap(file, as);
  } catch {
    throw new Error("the file is damaged, or your browser cannot read it: " + ADVICE);
  }
  const { width, height } = bitmap;
  checkSize(width, height, megapixels);
  const [pixels, alpha] = [pixelsOf(bitmap, true), pixelsOf(bitmap, false)];
  bitmap.close();
  const data = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; to < data.length; from += 4, to += 3) {
    for (let band = 0; band < 3; band++) data[to + band] = pixels[from + band];
  }
  const remarks = [];
  for (let at = 3; at < alpha.length && !remarks.length; at += 4) {
    if (alpha[at] < 255) remarks.push("transparent: laid on black");
  }
  return { picture: { width, height, data }, remarks, jpeg: bytes[0] === 0xff };
}

/** Read the pixels of a bitmap, on black or with their transparency. */
function pixelsOf(bitmap, opaque) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d", { alpha: !opaque, willReadFrequently: true });
  if (opaque) {
    checkHonest(context);
    context.fillRect(0, 0, bitmap.width, bitmap.height); // black
  }
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

/** Throw an error if the browser does not return the pixels that it was given.
 *
 * Some do so to hide the machine from pages, and would silently change the class. */
function checkHonest(context) {
  const { width, height } = context.canvas;
  const known = context.createImageData(Math.min(width, 64), Math.min(height, 64));
  known.data.forEach((_, at, data) => (data[at] = at % 4 === 3 ? 255 : (at * 37) % 256));
  context.putImageData(known, 0, 0);
  const found = context.getImageData(0, 0, known.width, known.height).data;
  if (known.data.some((value, at) => value !== found[at])) {
    throw new Error(
      "your browser does not give back the pixels of a picture: to protect your privacy (allow " +
        "this page to read the canvas, or use another browser), or because it is too large",
    );
  }
}

function checkSize(width, height, megapixels) {
  if (width * height <= megapixels * 1e6) return;
  const limit = `the limit is ${megapixels} megapixels`;
  throw new Error(`${width} x ${height} px: cut out the galaxy; ${limit}`);
}

/** Return the width and height that a file states.
 *
 * Throws an `Error` for a file that browsers and Pillow read differently. */
function stated(bytes) {
  if (!bytes.length) throw new Error("the file is empty");
  const text = (from, to) => String.fromCharCode(...bytes.subarray(from, to));
  const start = text(0, 4);
  if (start === "\x89PNG") return png(bytes);
  if (text(0, 3) === "\xff\xd8\xff") return jpeg(bytes);
  if (start === "GIF8" || text(8, 12) === "WEBP") return [0, 0]; // known once it is decoded
  if (text(0, 6) === "SIMPLE") throw new Error("a FITS image: use `galaxymorph predict`");
  if (["II*\0", "MM\0*"].includes(start)) throw new Error("a TIFF image: " + ADVICE);
  throw new Error("not a PNG, JPEG, WebP or GIF image: " + ADVICE);
}

function png(bytes) {
  const view = new DataView(bytes.buffer);
  if (bytes.length < 33) throw new Error("the PNG file is damaged: its header is missing");
  if (bytes[24] === 16) throw new Error("a PNG with 16 bits per band: " + ADVICE);
  return [view.getUint32(16), view.getUint32(20)];
}

/** Find the frame header among the segments of a JPEG file. */
function jpeg(bytes) {
  const view = new DataView(bytes.buffer);
  for (let at = 2; at + 9 < bytes.length; at += 2 + view.getUint16(at + 2)) {
    const marker = bytes[at + 1];
    if (bytes[at] !== 0xff || marker === 0xda) break;
    const frame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (!frame) continue;
    if (bytes[at + 4] !== 8) throw new Error("a JPEG with more than 8 bits per band: " + ADVICE);
    if (bytes[at + 9] > 3) throw new Error("a JPEG in the colours of print (CMYK): " + ADVICE);
    return [view.getUint16(at + 7), view.getUint16(at + 5)];
  }
  throw new Error("the JPEG file is damaged: its header is missing");
}
