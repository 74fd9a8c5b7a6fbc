// The side of a cutout by the size of the galaxy, as `data/framing.py` chooses it (crop: "auto").

const KERNEL = Array.from({ length: 9 }, (_, k) => Math.exp(-0.5 * (k - 4) ** 2)); // sigma 1 px

/** Return the side in px of the square that frames the galaxy in the centre, or null.
 *
 * Sums are rounded to 32 bits as NumPy's are, so that limits are passed by the same pixels. */
export function framed(picture, { radii, pixels, least, smallest, faintest, sigmas }) {
  const whole = Math.min(picture.width, picture.height);
  const step = Math.max(1, Math.floor(whole / pixels));
  const n = Math.floor(whole / step);
  const grey = symmetric(binned(picture, { whole, step, n }));
  const smooth = smoothed(smoothed(grey, n, n, 1), n, 1, n);
  const width = Math.max(1, Math.floor(n / 16));
  const edge = (at) => at < width || at >= n - width;
  const ring = smooth.filter((_, at) => edge(at % n) || edge(Math.floor(at / n)));
  const sky = median(ring);
  const noise = Math.fround(Math.fround(1.4826) * median(ring.map((v) => Math.abs(v - sky))));
  const limit = Math.fround(sky + Math.max(faintest, Math.fround(sigmas * noise)));
  const radius = (at) =>
    Math.sqrt(((at % n) - (n - 1) / 2) ** 2 + (Math.floor(at / n) - (n - 1) / 2) ** 2);
  let peak = 0;
  let most = -Infinity;
  for (let at = 0; at < n * n; at++) {
    const value = radius(at) <= Math.max(1, n / 16) ? smooth[at] : -1;
    if (value > most) [peak, most] = [at, value];
  }
  const galaxy = connected(smooth, n, peak, limit);
  if (galaxy.length < smallest) return null;
  galaxy.sort((a, b) => radius(a) - radius(b));
  let light = 0;
  const sums = galaxy.map((at) => {
    light = Math.fround(light + Math.max(0, Math.fround(grey[at] - sky)));
    return light;
  });
  const most90 = Math.fround(Math.fround(0.9) * light);
  const r90 = step * radius(galaxy[sums.findIndex((sum) => sum >= most90)]);
  return Math.min(whole, Math.max(Math.ceil(least * whole), Math.round(radii * r90)));
}

/** Average all bands, and `step` x `step` pixels of the largest square. */
function binned({ width, height, data }, { whole, step, n }) {
  const top = Math.floor((height - whole) / 2);
  const left = Math.floor((width - whole) / 2);
  const made = new Float32Array(n * n);
  for (let y = 0; y < n; y++) {
    for (let x = 0; x < n; x++) {
      let sum = 0;
      for (let row = 0; row < step; row++) {
        const start = 3 * ((top + y * step + row) * width + left + x * step);
        for (let at = start; at < start + 3 * step; at++) sum += data[at];
      }
      made[y * n + x] = sum / (3 * step ** 2);
    }
  }
  return made;
}

/** Keep of each pixel and its opposite the fainter one, which removes neighbours. */
function symmetric(grey) {
  return grey.map((value, at) => Math.min(value, grey[grey.length - 1 - at]));
}

/** Convolve lines with the kernel; beyond their ends, pixels are mirrored. */
function smoothed(grey, n, along, across) {
  const total = KERNEL.reduce((sum, weight) => sum + weight, 0);
  const made = new Float32Array(grey.length);
  for (let line = 0; line < n; line++) {
    for (let place = 0; place < n; place++) {
      let sum = 0;
      for (let k = 0; k < KERNEL.length; k++) {
        let at = (((place + k - 4) % (2 * n)) + 2 * n) % (2 * n);
        if (at >= n) at = 2 * n - 1 - at;
        sum += (KERNEL[k] / total) * grey[line * across + at * along];
      }
      made[line * across + place * along] = sum;
    }
  }
  return made;
}

function median(values) {
  const ordered = Float32Array.from(values).sort();
  const half = ordered.length >> 1;
  const odd = ordered.length % 2;
  return odd ? ordered[half] : Math.fround((ordered[half - 1] + ordered[half]) / 2);
}

/** Return the pixels above the limit that are connected with one of them; none if it is fainter. */
function connected(smooth, n, start, limit) {
  const found = smooth[start] > limit ? [start] : [];
  const seen = new Set(found);
  for (const at of found) {
    const x = at % n;
    const beside = [at - n, at + n, x > 0 ? at - 1 : -1, x < n - 1 ? at + 1 : -1];
    for (const next of beside) {
      if (next < 0 || next >= n * n || seen.has(next) || !(smooth[next] > limit)) continue;
      seen.add(next);
      found.push(next);
    }
  }
  return found;
}
