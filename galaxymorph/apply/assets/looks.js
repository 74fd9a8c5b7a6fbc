// What is wrong with a cutout, as `data/looks.py` finds it.

/** Name what is wrong with a cutout, the first finding that applies, or "". */
export function finding({ width, data }, limits) {
  const step = Math.max(1, Math.floor(width / limits.enough));
  const size = Math.ceil(width / step);
  const border = Math.max(1, Math.floor(size / 16));
  const from = Math.floor((size * 3) / 8);
  const to = Math.max(Math.floor((size * 5) / 8), from + 1);
  const edge = (at) => at < border || at >= size - border;
  const middle = (at) => at >= from && at < to;
  const bands = [0, 1, 2].map((band) => {
    const [all, frame, centre] = [[], [], []];
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const value = data[3 * step * (y * width + x) + band];
        all.push(value);
        if (edge(y) || edge(x)) frame.push(value);
        if (middle(y) && middle(x)) centre.push(value);
      }
    }
    const [faint, bright] = quantiles(all, 0.005, 0.995);
    const [[sky], [core]] = [quantiles(frame, 0.5), quantiles(centre, 0.5)];
    return { bright, spread: bright - faint, sky, core };
  });
  const saturated = share(data, { width, step, size });
  const [, second, spread] = bands.map((band) => band.spread).sort((a, b) => a - b);
  const mean = (key) => bands.reduce((sum, band) => sum + band[key], 0) / 3;
  const tests = {
    blank: spread <= limits.constant,
    "nearly black": Math.max(...bands.map((band) => band.bright)) < limits.nearly_black,
    saturated: saturated > limits.saturated,
    negative: mean("core") < mean("sky") - limits.negative,
    "bright sky": mean("sky") > limits.bright_sky,
    "one colour": second <= limits.empty,
  };
  return Object.keys(tests).find((name) => tests[name]) ?? "";
}

/** Return the share of pixels that are at 255 in some band. */
function share(data, { width, step, size }) {
  let count = 0;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const at = 3 * step * (y * width + x);
      if (data[at] === 255 || data[at + 1] === 255 || data[at + 2] === 255) count++;
    }
  }
  return count / size ** 2;
}

function quantiles(values, ...shares) {
  const ordered = Uint8Array.from(values).sort();
  return shares.map((part) => ordered[Math.round(part * (ordered.length - 1))]);
}
