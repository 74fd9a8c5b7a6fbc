// The forward pass of a small CNN (`learning/architectures.py`) and its heads.
//
// `load` takes what `apply/page_model.py` exports. Values are 64-bit: JavaScript computes with no
// others, so 32-bit ones would be converted at every step.

const CHANNELS = 4; // output channels computed together
const PIXELS = 2; // neighbouring pixels computed together

/** Unpack the weights of an exported model; BatchNorm is folded into the convolutions. */
export function load(model) {
  const letters = atob(model.weights);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = letters.charCodeAt(at);
  const layer = (parts) =>
    Object.fromEntries(
      Object.entries(parts).map(([name, where]) => [name, numbers(bytes.buffer, where)]),
    );
  return {
    ...model,
    weights: null,
    blocks: model.blocks.map((pair) => pair.map((parts) => folded(layer(parts)))),
    class_head: layer(model.class_head),
    vote_head: model.vote_head?.map(layer),
    unlike: model.unlike && layer(model.unlike),
  };
}

function numbers(buffer, { at, length, bits }) {
  if (bits === 32) return new Float64Array(new Float32Array(buffer, at, length));
  const halves = new Uint16Array(buffer, at, length);
  const made = new Float64Array(length);
  for (let k = 0; k < length; k++) made[k] = fromHalf(halves[k]);
  return made;
}

/** Convert the bits of a 16-bit number. */
function fromHalf(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  const size = exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
  return bits & 32768 ? -size : size;
}

/** Order the weights (output, input, 3, 3) of a convolution as `convolved` reads them. */
function folded({ weight, scale, shift }) {
  const outputs = shift.length;
  const inputs = weight.length / outputs / 9;
  const groups = Math.ceil(outputs / CHANNELS);
  const ordered = new Float64Array(groups * CHANNELS * 9 * inputs); // 0 beyond the last output
  for (let output = 0; output < outputs; output++) {
    const group = Math.floor(output / CHANNELS);
    for (let input = 0; input < inputs; input++) {
      for (let tap = 0; tap < 9; tap++) {
        const at = CHANNELS * ((group * 9 + tap) * inputs + input) + (output % CHANNELS);
        ordered[at] = weight[(output * inputs + input) * 9 + tap] * scale[output];
      }
    }
  }
  const bias = new Float64Array(groups * CHANNELS);
  bias.set(shift);
  return { inputs, outputs, weight: ordered, bias };
}

/** A square map of channels, interleaved, with room for a border of zeros.
 *
 * If its side is odd, also for the pixel that is computed beyond it. */
function map(side, channels) {
  const stride = Math.ceil(side / PIXELS) * PIXELS + 2;
  return { side, channels, stride, data: new Float64Array((side + 2) * stride * channels) };
}

/** Compute probabilities, votes, distance and features of a cutout ({width, data} of bytes).
 *
 * All but the features are means over the orientations that the model was exported with. */
export function forward(network, cut) {
  const found = turned(cut, network.orientations).map((each) => once(network, each));
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / found.length;
  const means = (name) => found[0][name]?.map((_, k) => mean(found.map((each) => each[name][k])));
  return {
    features: found[0].features,
    probabilities: means("probabilities"),
    votes: means("votes")?.map((value) => Math.max(0, Math.min(1, value))) ?? null,
    distance: found[0].distance === null ? null : mean(found.map(({ distance }) => distance)),
  };
}

/** Return the first `n` of the 8 rotations and reflections of a square cutout. */
function turned({ width: side, data }, n) {
  const last = side - 1;
  return Array.from({ length: n }, (_, k) => {
    const made = new Uint8Array(data.length);
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        let [y, x] = [row, k < 4 ? column : last - column];
        for (let turn = 0; turn < k % 4; turn++) [y, x] = [x, last - y];
        const [from, to] = [3 * (y * side + x), 3 * (row * side + column)];
        for (let band = 0; band < 3; band++) made[to + band] = data[from + band];
      }
    }
    return { width: side, data: made };
  });
}

function once(network, { width, data }) {
  let cells = normalised(data, width, network.normalisation);
  for (const [first, second] of network.blocks) {
    cells = pooled(convolved(convolved(cells, first), second));
  }
  const features = averages(cells);
  const { temperature, offset } = network.calibration;
  const logits = linear(features, network.class_head).map(
    (value, place) => value / temperature + offset[place],
  );
  return {
    features,
    probabilities: softmax(logits),
    votes: network.vote_head ? votes(features, network) : null,
    distance: network.unlike ? distance(features, network.unlike) : null,
  };
}

function normalised(pixels, side, { mean, std }) {
  const made = map(side, 3);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const to = 3 * ((y + 1) * made.stride + x + 1);
      for (let band = 0; band < 3; band++) {
        made.data[to + band] = (pixels[3 * (y * side + x) + band] / 255 - mean[band]) / std[band];
      }
    }
  }
  return made;
}

/** Convolve with 3 x 3 pixels, and replace negative values by 0.
 *
 * In a map with a border, the three pixels of a row below a kernel are neighbours in memory: each
 * output is the sum of three products of vectors. */
function convolved(before, { inputs, outputs, weight, bias }) {
  const after = map(before.side, outputs);
  const from = before.data;
  const row = before.stride * inputs;
  const run = 3 * inputs;
  for (let group = 0; group < outputs; group += CHANNELS) {
    const kernels = group * 9 * inputs;
    for (let y = 0; y < before.side; y++) {
      for (let x = 0; x < before.side; x += PIXELS) {
        let a0 = bias[group], a1 = bias[group + 1], a2 = bias[group + 2], a3 = bias[group + 3];
        let b0 = a0, b1 = a1, b2 = a2, b3 = a3;
        let w = kernels;
        for (let line = 0; line < 3; line++) {
          const start = (y + line) * row + x * inputs;
          for (let i = start; i < start + run; i++, w += CHANNELS) {
            const a = from[i], b = from[i + inputs];
            const w0 = weight[w], w1 = weight[w + 1], w2 = weight[w + 2], w3 = weight[w + 3];
            a0 += a * w0; a1 += a * w1; a2 += a * w2; a3 += a * w3;
            b0 += b * w0; b1 += b * w1; b2 += b * w2; b3 += b * w3;
          }
        }
        put(after, y, x, group, a0, a1, a2, a3);
        if (x + 1 < before.side) put(after, y, x + 1, group, b0, b1, b2, b3);
      }
    }
  }
  return after;
}

function put({ data, stride, channels }, y, x, group, v0, v1, v2, v3) {
  const at = ((y + 1) * stride + x + 1) * channels + group;
  data[at] = v0 > 0 ? v0 : 0;
  if (group + 1 < channels) data[at + 1] = v1 > 0 ? v1 : 0;
  if (group + 2 < channels) data[at + 2] = v2 > 0 ? v2 : 0;
  if (group + 3 < channels) data[at + 3] = v3 > 0 ? v3 : 0;
}

/** Keep the largest of 2 x 2 pixels; an odd last row or column is left out. */
function pooled(before) {
  const { channels, stride, data } = before;
  const after = map(Math.floor(before.side / 2), channels);
  for (let y = 0; y < after.side; y++) {
    for (let x = 0; x < after.side; x++) {
      const to = ((y + 1) * after.stride + x + 1) * channels;
      const upper = ((2 * y + 1) * stride + 2 * x + 1) * channels;
      const lower = upper + stride * channels;
      for (let c = 0; c < channels; c++) {
        const above = Math.max(data[upper + c], data[upper + channels + c]);
        after.data[to + c] = Math.max(above, data[lower + c], data[lower + channels + c]);
      }
    }
  }
  return after;
}

function averages({ side, channels, stride, data }) {
  const sums = new Float64Array(channels);
  for (let y = 1; y <= side; y++) {
    for (let x = 1; x <= side; x++) {
      for (let c = 0; c < channels; c++) sums[c] += data[(y * stride + x) * channels + c];
    }
  }
  return sums.map((sum) => sum / side ** 2);
}

function linear(values, { weight, bias }) {
  const n = values.length;
  return bias.map((sum, output) => {
    for (let k = 0; k < n; k++) sum += weight[output * n + k] * values[k];
    return sum;
  });
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** Compute 37 cumulative vote fractions: shares of the answer that leads to each question. */
function votes(features, { vote_head: layers, questions }) {
  const relu = (values) => values.map((value) => Math.max(0, value));
  const next = (values, layer, k) => linear(k ? relu(values) : values, layer);
  const raw = layers.reduce(next, features);
  if (!questions) return raw;
  const found = [];
  for (const { answers, parent } of questions) {
    const shares = softmax(raw.slice(found.length, found.length + answers));
    const reached = parent === null ? 1 : found[parent];
    found.push(...shares.map((share) => share * reached));
  }
  return Float64Array.from(found);
}

/** Compute the Mahalanobis distance from the training galaxies; above 1, one is unlike them. */
function distance(features, { centre, whitening, limit }) {
  const n = features.length;
  let squares = 0;
  for (let k = 0; k < n; k++) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += (features[j] - centre[j]) * whitening[j * n + k];
    squares += sum * sum;
  }
  return Math.sqrt(squares) / limit[0];
}
