// Cut out and resample a picture as `data/cutouts.py` does with Pillow, to the last bit.
//
// Pictures are {width, height, data}, with interleaved bytes of three bands.

const LOBES = 3; // of the Lanczos filter
const GAP = 3; // a picture is first averaged to this many times the wanted size: `reducing_gap`
const BITS = 22; // of fixed-point weights: a sum of them times 255 fits into 32 bits

/** Cut out the central `crop` pixels (null: the largest square) and resample them to `size`. */
export function cutout(picture, size, crop = null) {
  const { width, height } = picture;
  const largest = Math.min(width, height);
  const side = crop ?? largest;
  if (side > largest) {
    throw new Error(
      `crop of ${side} px, but the image has only ${width} x ${height} px: it shows less sky ` +
        "than those that the model was trained on",
    );
  }
  return resized(square(picture, side), size);
}

function square({ width, height, data }, side) {
  const left = Math.floor((width - side) / 2);
  const top = Math.floor((height - side) / 2);
  const cut = new Uint8Array(3 * side * side);
  for (let row = 0; row < side; row++) {
    const start = 3 * ((top + row) * width + left);
    cut.set(data.subarray(start, start + 3 * side), 3 * side * row);
  }
  return { width: side, height: side, data: cut };
}

/** Resample a square picture to `size` pixels along a side. */
export function resized(picture, size) {
  const side = picture.width;
  if (side === size) return picture;
  const factor = Math.max(1, Math.floor(side / size / GAP));
  const reduced = factor > 1 ? averaged(picture, factor) : picture;
  const n = reduced.width;
  const weights = lanczos(n, side / factor, size);
  // along rows, then along columns, with bytes between
  const wide = filtered(reduced.data, weights, { lines: n, along: 3, across: 3 * n, size });
  const next = { lines: size, along: 3 * size, across: 3, size };
  return { width: size, height: size, data: filtered(wide, weights, next) };
}

/** Average blocks of `factor` x `factor` pixels, smaller ones at the right and lower edge. */
function averaged({ width, data }, factor) {
  const n = Math.ceil(width / factor);
  const made = new Uint8Array(3 * n * n);
  for (let row = 0; row < n; row++) {
    const bottom = Math.min(width, (row + 1) * factor);
    for (let column = 0; column < n; column++) {
      const right = Math.min(width, (column + 1) * factor);
      const count = (bottom - row * factor) * (right - column * factor);
      const inverse = Math.floor(Math.fround(2 ** 32 / Math.fround(256 * count)));
      for (let band = 0; band < 3; band++) {
        let sum = count >> 1;
        for (let y = row * factor; y < bottom; y++) {
          for (let x = column * factor; x < right; x++) sum += data[3 * (y * width + x) + band];
        }
        made[3 * (row * n + column) + band] = Math.imul(sum, inverse) >>> 24;
      }
    }
  }
  return { width: n, height: n, data: made };
}

/** Compute for each of `size` new pixels the first old one, and the weights from there on.
 *
 * Of the `n` old pixels, `length` are used; the last may be a part of one. */
function lanczos(n, length, size) {
  const scale = Math.fround(length) / size;
  const stretch = Math.max(1, scale);
  const reach = LOBES * stretch;
  return Array.from({ length: size }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const last = Math.min(n, Math.trunc(centre + reach + 0.5));
    const exact = Array.from({ length: last - first }, (_, k) =>
      kernel((k + first - centre + 0.5) * (1 / stretch)),
    );
    const total = exact.reduce((sum, weight) => sum + weight, 0);
    const fixed = exact.map((weight) => {
      const scaled = total === 0 ? weight : weight / total;
      return Math.trunc(scaled * 2 ** BITS + (scaled < 0 ? -0.5 : 0.5));
    });
    return { first, fixed: Int32Array.from(fixed) };
  });
}

function kernel(x) {
  return x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** Resample each of `lines`, whose pixels are `along` bytes apart, and the lines `across`. */
function filtered(data, weights, { lines, along, across, size }) {
  const made = new Uint8Array(3 * lines * size);
  const newAcross = along === 3 ? 3 * size : 3; // rows got shorter, columns are still side by side
  for (let line = 0; line < lines; line++) {
    for (let place = 0; place < size; place++) {
      const { first, fixed } = weights[place];
      const at = line * newAcross + place * along;
      for (let band = 0; band < 3; band++) {
        let sum = 1 << (BITS - 1);
        let from = line * across + first * along + band;
        for (let k = 0; k < fixed.length; k++, from += along) sum += data[from] * fixed[k];
        made[at + band] = Math.max(0, Math.min(255, sum >> BITS));
      }
    }
  }
  return made;
}
