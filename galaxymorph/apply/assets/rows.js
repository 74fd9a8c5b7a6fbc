// Which galaxies are selected, in which order: pure functions of columns, without a page.

export function isMissing(column, row) {
  const value = column.values[row];
  if (column.kind === "class") return column.names[value] === "";
  return column.kind === "text" ? value === "" : Number.isNaN(value);
}

export function textOf(column, row) {
  const value = column.values[row];
  if (column.kind === "class") return column.names[value];
  if (column.kind === "text") return value;
  return numberText(value, column.kind);
}

// At most four digits where these suffice; an en dash for missing values.
export function numberText(value, kind = "number") {
  if (Number.isNaN(value)) return "–";
  if (kind === "fraction") return value.toFixed(3);
  if (Number.isInteger(value)) return Math.abs(value) < 10000 ? String(value) : value.toLocaleString("en");
  const size = Math.abs(value);
  return size >= 1000 ? value.toFixed(0) : size >= 1e-3 ? String(+value.toPrecision(4)) : value.toExponential(2);
}

// ---- filters: { column, values } keeps names, { column, low, high } numbers, { column, has } texts;
// { differ: [a, b] } keeps galaxies for which two columns have different names.

export function passing(filters, columns, n) {
  const mask = new Uint8Array(n).fill(1);
  for (const filter of filters) narrow(mask, filter, columns);
  return mask;
}

function narrow(mask, filter, columns) {
  const n = mask.length;
  if (filter.differ) {
    const [a, b] = filter.differ.map((name) => columns.get(name));
    const same = new Map(a.names.map((name, code) => [code, b.names.indexOf(name)]));
    for (let i = 0; i < n; i++) {
      if (isMissing(a, i) || isMissing(b, i) || same.get(a.values[i]) === b.values[i]) mask[i] = 0;
    }
    return;
  }
  const column = columns.get(filter.column);
  if (filter.values) {
    const wanted = column.names.map((name) => (filter.values.includes(name) ? 1 : 0));
    for (let i = 0; i < n; i++) mask[i] &= wanted[column.values[i]];
  } else if (filter.has !== undefined) {
    const wanted = filter.has.toLowerCase();
    for (let i = 0; i < n; i++) if (!textOf(column, i).toLowerCase().includes(wanted)) mask[i] = 0;
  } else {
    const { low = -Infinity, high = Infinity } = filter, { values } = column;
    for (let i = 0; i < n; i++) if (!(values[i] >= low && values[i] <= high)) mask[i] = 0; // NaN: out
  }
}

// Keeps the points inside a polygon of [x, y], by the even-odd rule. Edges are sorted into bands of y,
// so that a point meets few of them.
export function narrowToArea(mask, xs, ys, polygon, bands = 256) {
  const [left, right] = extent(polygon.map((point) => point[0])), [low, high] = extent(polygon.map((point) => point[1]));
  const scale = bands / (high - low || 1), of = Array.from({ length: bands }, () => []);
  const bandOf = (y) => Math.min(bands - 1, Math.floor((y - low) * scale));
  polygon.forEach(([x2, y2], i) => {
    const [x1, y1] = polygon.at(i - 1);
    for (let band = bandOf(Math.min(y1, y2)); band <= bandOf(Math.max(y1, y2)); band++) of[band].push(x1, y1, x2, y2);
  });
  for (let i = 0; i < mask.length; i++) {
    const x = xs[i], y = ys[i];
    if (!mask[i]) continue;
    if (x < left || x > right || y < low || y > high) {
      mask[i] = 0;
      continue;
    }
    const edges = of[bandOf(y)];
    let inside = 0;
    for (let k = 0; k < edges.length; k += 4) {
      const y1 = edges[k + 1], y2 = edges[k + 3];
      if (y1 > y !== y2 > y && x < ((edges[k + 2] - edges[k]) * (y - y1)) / (y2 - y1) + edges[k]) inside ^= 1;
    }
    mask[i] = inside;
  }
}

export function isInside(x, y, polygon) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [x1, y1] = polygon[i], [x2, y2] = polygon[j];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}

// A hand-drawn line with at most `most` corners: neighbours closer than a growing distance are dropped.
export function simplified(polygon, most = 80) {
  for (let least = 1; polygon.length > most; least *= 1.4) {
    const kept = [];
    for (const point of polygon) {
      const last = kept.at(-1);
      if (!last || Math.hypot(point[0] - last[0], point[1] - last[1]) >= least) kept.push(point);
    }
    polygon = kept;
  }
  return polygon;
}

export function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

// ---- order

// All rows by ascending value; missing ones last, equal ones in their order.
export function ordered(column) {
  const n = column.values.length, rows = Uint32Array.from({ length: n }, (_, i) => i);
  if (column.kind === "text") {
    const keys = column.values;
    const { compare } = new Intl.Collator("en", { numeric: true });
    return rows.sort((a, b) => (keys[a] === "") - (keys[b] === "") || compare(keys[a], keys[b]) || a - b);
  }
  const empty = column.kind === "class" ? column.names.indexOf("") : -1;
  const keys = Float64Array.from(column.values, (value) => (value === empty && empty >= 0 || Number.isNaN(value) ? Infinity : value));
  return rows.sort((a, b) => (keys[a] < keys[b] ? -1 : keys[a] > keys[b] ? 1 : a - b));
}

// The rows of a mask in an order, descending if wanted; `missing` of the last rows of the order stay last.
export function chosen(order, mask, down = false, missing = 0) {
  const found = new Uint32Array(order.length), known = order.length - missing;
  let n = 0;
  const take = (row) => {
    if (mask[row]) found[n++] = row;
  };
  if (down) for (let i = known - 1; i >= 0; i--) take(order[i]);
  else for (let i = 0; i < known; i++) take(order[i]);
  for (let i = known; i < order.length; i++) take(order[i]);
  return found.subarray(0, n);
}

export function missingIn(column) {
  let n = 0;
  for (let i = 0; i < column.values.length; i++) n += isMissing(column, i);
  return n;
}

// Sum of weights times fractions; galaxies without a fraction count as 0 there.
export function mixture(columns, weights) {
  const names = Object.keys(weights), n = columns.get(names[0]).values.length, values = new Float32Array(n);
  for (const name of names) {
    const own = columns.get(name).values, weight = weights[name];
    for (let i = 0; i < n; i++) if (!Number.isNaN(own[i])) values[i] += weight * own[i];
  }
  return { name: "mixture", group: "galaxy", kind: "number", values };
}

// ---- counts

export function counts(column, mask) {
  const found = new Uint32Array(column.names.length);
  for (let i = 0; i < mask.length; i++) found[column.values[i]] += mask[i];
  return found;
}

// Number of all and of selected galaxies in equal bins from `low` to `high`.
export function histogram(values, mask, low, high, bins = 24) {
  const all = new Uint32Array(bins), selected = new Uint32Array(bins), scale = bins / (high - low || 1);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (!(value >= low && value <= high)) continue;
    const bin = Math.min(bins - 1, Math.floor((value - low) * scale));
    all[bin]++;
    selected[bin] += mask[i];
  }
  return { all, selected };
}

// The values below which these shares of the known ones lie.
export function quantiles(values, shares) {
  const known = values.filter((value) => Number.isFinite(value)).sort();
  return shares.map((share) => (known.length ? known[Math.round(share * (known.length - 1))] : NaN));
}

// ---- neighbours

// The `k` rows whose vectors have the largest cosine with `query`, without the row `self`.
export function nearest(vectors, dimensions, query, k, self = -1) {
  const n = vectors.length / dimensions, best = [];
  const own = Math.hypot(...query) || 1;
  for (let row = 0, at = 0; row < n; row++, at += dimensions) {
    let product = 0, norm = 0;
    for (let d = 0; d < dimensions; d++) {
      product += vectors[at + d] * query[d];
      norm += vectors[at + d] * vectors[at + d];
    }
    const cosine = norm ? product / (Math.sqrt(norm) * own) : 0;
    if (row === self || (best.length === k && cosine <= best[k - 1].cosine)) continue;
    let place = best.length;
    while (place && best[place - 1].cosine < cosine) place--;
    best.splice(place, 0, { row, cosine });
    if (best.length > k) best.pop();
  }
  return best;
}

export function vectorOf(vectors, dimensions, row) {
  return vectors.subarray(row * dimensions, (row + 1) * dimensions);
}

// A vector of features in the directions in which the page keeps them.
export function turnedTo(axes, dimensions, features) {
  const found = new Float64Array(dimensions), norm = Math.hypot(...features) || 1;
  for (let i = 0; i < features.length; i++) {
    for (let d = 0; d < dimensions; d++) found[d] += (features[i] / norm) * axes[i * dimensions + d];
  }
  return found;
}
