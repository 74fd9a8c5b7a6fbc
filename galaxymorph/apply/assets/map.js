// The map of galaxies: points in WebGL2 where there is a graphics card, else in a canvas.

const FULL = 65535; // the map's side in its own units

const VERTEX = `#version 300 es
in vec2 place; in vec4 colour; in float shown;
uniform vec2 centre, scale; uniform float size, wanted, faded;
out vec4 ink;
void main() {
  if (shown != wanted) { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); return; }
  gl_Position = vec4((place - centre) * scale, 0.0, 1.0);
  gl_PointSize = size;
  ink = vec4(colour.rgb, faded);
}`;
const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 ink; out vec4 seen;
void main() {
  float away = length(gl_PointCoord - 0.5);
  if (away > 0.5) discard;
  seen = vec4(ink.rgb * ink.a, ink.a);
}`;

// A graphics card that is only imitated is slower than `Paper`.
function isImitated() {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return true;
  const about = gl.getExtension("WEBGL_debug_renderer_info");
  const name = about ? gl.getParameter(about.UNMASKED_RENDERER_WEBGL) : "";
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
}

class Cards { // WebGL2
  constructor(canvas) {
    const gl = canvas.getContext("webgl2", { premultipliedAlpha: true });
    if (!gl) throw new Error("no WebGL2");
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.gl = gl;
    this.at = (name) => gl.getUniformLocation(program, name);
    this.buffers = ["place", "colour", "shown"].map((name) => [gl.createBuffer(), gl.getAttribLocation(program, name)]);
  }

  fill(which, array, size, kind, normalised) {
    const { gl } = this, [buffer, place] = this.buffers[which];
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, gl[kind], normalised, 0, 0);
  }

  load({ points, colours, shown }) {
    if (points) this.fill(0, points, 2, "UNSIGNED_SHORT", false);
    if (colours) this.fill(1, new Uint8Array(colours.buffer), 4, "UNSIGNED_BYTE", true);
    if (shown) this.fill(2, shown, 1, "UNSIGNED_BYTE", false);
  }

  draw({ width, height, ratio, view, size, n, faded }) {
    const { gl } = this;
    gl.viewport(0, 0, width * ratio, height * ratio);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(this.at("centre"), view.x, view.y);
    gl.uniform2f(this.at("scale"), (2 * view.scale) / width, (2 * view.scale) / height);
    gl.uniform1f(this.at("size"), size * ratio);
    for (const wanted of [0, 1]) {
      gl.uniform1f(this.at("wanted"), wanted);
      gl.uniform1f(this.at("faded"), wanted ? 0.85 : faded);
      gl.drawArrays(gl.POINTS, 0, n);
    }
  }
}

class Paper { // a canvas, whose pixels are written directly: faster than a graphics card in software
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  load(given) {
    Object.assign(this, given);
  }

  draw({ width, height, ratio, view, size, n, faded, paper }) {
    const w = Math.round(width * ratio), h = Math.round(height * ratio), { points, colours, shown } = this;
    if (!this.image || this.image.width !== w || this.image.height !== h) this.image = this.context.createImageData(w, h);
    const pixels = new Uint32Array(this.image.data.buffer), side = Math.max(1, Math.round(size * ratio)), half = side >> 1;
    pixels.fill(0);
    const spans = Array.from({ length: side }, (_, y) => Math.round(Math.sqrt(side * side / 4 - (y + 0.5 - side / 2) ** 2)) || 1);
    const scale = view.scale * ratio, x0 = w / 2 - view.x * scale, y0 = h / 2 + view.y * scale;
    const mixed = new Map(); // faded colours
    for (const wanted of [0, 1]) {
      for (let i = 0; i < n; i++) {
        if (shown[i] !== wanted) continue;
        const x = Math.round(x0 + points[2 * i] * scale), y = Math.round(y0 - points[2 * i + 1] * scale);
        if (x < -side || y < -side || x > w + side || y > h + side) continue;
        let colour = colours[i];
        if (!wanted) {
          if (!mixed.has(colour)) mixed.set(colour, mix(colour, paper, faded));
          colour = mixed.get(colour);
        }
        for (let row = 0; row < side; row++) {
          const line = y - half + row;
          if (line < 0 || line >= h) continue;
          const from = Math.max(0, x - spans[row]), to = Math.min(w, x + spans[row] + (side & 1));
          for (let at = line * w + from; at < line * w + to; at++) pixels[at] = colour;
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
  }
}

function mix(colour, paper, share) {
  let found = 0xff000000;
  for (const shift of [0, 8, 16]) {
    found |= Math.round(((colour >> shift) & 255) * share + ((paper >> shift) & 255) * (1 - share)) << shift;
  }
  return found >>> 0;
}

// "#rrggbb" as a pixel of a canvas.
export function pixelOf(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}

// Does not overlap: at most one galaxy in each cell of a grid.
export function thinned(places, cell) {
  const taken = new Set(), kept = [];
  for (const place of places) {
    const key = `${Math.round(place.x / cell)} ${Math.round(place.y / cell)}`;
    if (taken.has(key)) continue;
    taken.add(key);
    kept.push(place);
  }
  return kept;
}

// Width and height of all points, in units of the map.
export function spansOf(points) {
  const ends = [Infinity, Infinity, -Infinity, -Infinity];
  points.forEach((value, i) => {
    if (value < ends[i % 2]) ends[i % 2] = value;
    if (value > ends[2 + (i % 2)]) ends[2 + (i % 2)] = value;
  });
  return [0, 1].map((k) => Math.max(1, ends[2 + k] - ends[k]));
}

export class GalaxyMap {
  constructor(root, { open, lasso, moved, label, picture, draw }) {
    Object.assign(this, { root, open, onLasso: lasso, moved, label, picture });
    [this.canvas, this.over, this.tip] = ["points", "over", "tip"].map((id) => root.querySelector(`#${id}`));
    this.context = this.over.getContext("2d");
    try {
      this.drawer = draw === "canvas" || (draw !== "webgl" && isImitated()) ? new Paper(this.canvas) : new Cards(this.canvas);
    } catch {
      this.drawer = new Paper(this.canvas);
    }
    this.backend = this.drawer instanceof Cards ? "webgl" : "canvas";
    Object.assign(this, { view: null, n: 0, marked: [], line: null, area: null, drawing: false, frames: 0, current: -1 });
    this.pointers = new Map();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(root);
    this.resize();
  }

  load(given) {
    Object.assign(this, given); // points, colours, shown, paper, ink
    if (given.points) {
      this.n = given.points.length / 2;
      this.spans = spansOf(given.points);
    }
    this.drawer.load(given);
    this.draw();
  }

  resize() {
    const { width, height } = this.root.getBoundingClientRect(), limit = this.backend === "canvas" ? 1 : 2;
    if (!width || !height) return;
    Object.assign(this, { width, height, ratio: Math.min(devicePixelRatio || 1, limit) });
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    if (!this.view || this.isWhole) this.whole(false);
    this.draw();
  }

  whole(tell = true) {
    if (!this.width) return;
    const [across, up] = this.spans ?? [FULL, FULL];
    this.view = { x: FULL / 2, y: FULL / 2, scale: 0.94 * Math.min(this.width / across, this.height / up) };
    this.isWhole = true;
    this.draw();
    if (tell) this.moved(null);
  }

  show(x, y, scale) {
    this.view = { x, y, scale: Math.min(Math.max(scale, 0.2 * Math.min(this.width, this.height) / FULL), 8) };
    this.isWhole = false;
    this.draw();
    this.moved([x, y, this.view.scale]);
  }

  pan(x, y) {
    this.show(this.view.x - x / this.view.scale, this.view.y + y / this.view.scale, this.view.scale);
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const [u, v] = this.toMap(x, y), scale = this.view.scale * factor;
    this.show(u - (x - this.width / 2) / scale, v + (y - this.height / 2) / scale, scale);
  }

  centre(row) {
    this.show(this.points[2 * row], this.points[2 * row + 1], this.view.scale);
  }

  toMap(x, y) {
    const { view } = this;
    return [view.x + (x - this.width / 2) / view.scale, view.y - (y - this.height / 2) / view.scale];
  }

  toScreen(u, v) {
    const { view } = this;
    return [(u - view.x) * view.scale + this.width / 2, this.height / 2 - (v - view.y) * view.scale];
  }

  draw() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.frame();
    });
  }

  // How large a point is, in px: smaller the more there are, larger when zoomed in.
  get size() {
    const zoom = (this.view.scale * FULL) / Math.min(this.width, this.height);
    const usual = this.n > 20000 ? 2 : this.n > 3000 ? 3.5 : 5;
    return Math.min(12, usual * Math.max(1, Math.sqrt(zoom)));
  }

  frame() {
    if (!this.width || !this.shown || !this.colours || !this.points) return;
    const { width, height, ratio, view, size, n, paper } = this;
    this.drawer.draw({ width, height, ratio, view, size, n, faded: 0.16, paper });
    this.frames++;
    const { context } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.drawPictures();
    for (const row of this.marked) this.ring(row, size / 2 + 4, 1.5);
    if (this.current >= 0) this.ring(this.current, size / 2 + 6, 3);
    if (this.dropped) this.star(...this.toScreen(...this.dropped));
    const line = this.line ?? this.area?.map(([u, v]) => this.toScreen(u, v));
    if (line) this.outline(line, !this.line);
  }

  // Selected galaxies within the view, with their place on the screen; none if there are more than `most`.
  visible(most = Infinity, margin = 0) {
    const { points, shown, n, width, height } = this, found = [];
    for (let i = 0; i < n; i++) {
      if (!shown[i]) continue;
      const [x, y] = this.toScreen(points[2 * i], points[2 * i + 1]);
      if (x < -margin || y < -margin || x > width + margin || y > height + margin) continue;
      if (found.length >= most) return [];
      found.push({ row: i, x, y });
    }
    return found;
  }

  drawPictures() {
    const { context, width, height, colours } = this, most = (width * height) / 1100;
    this.pictured = 0;
    if (this.n < 2) return;
    const places = this.visible(most, 30);
    if (!places.length) return;
    const side = Math.min(88, Math.max(30, 0.62 * Math.sqrt((width * height) / places.length)));
    for (const { row, x, y } of thinned(places, 0.8 * side)) {
      if (!this.picture(context, row, x - side / 2, y - side / 2, side)) continue;
      this.pictured++;
      const colour = colours[row];
      context.strokeStyle = `rgb(${colour & 255} ${(colour >> 8) & 255} ${(colour >> 16) & 255})`;
      context.lineWidth = 2;
      context.strokeRect(x - side / 2, y - side / 2, side, side);
    }
  }

  ring(row, radius, width) {
    const [x, y] = this.toScreen(this.points[2 * row], this.points[2 * row + 1]), { context } = this;
    for (const [colour, line] of [[this.back, width + 2], [this.ink, width]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.lineWidth = line;
      context.strokeStyle = colour;
      context.stroke();
    }
  }

  star(x, y) {
    const { context } = this;
    context.font = "26px sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 4;
    context.strokeStyle = this.back;
    context.strokeText("★", x, y);
    context.fillStyle = this.ink;
    context.fillText("★", x, y);
  }

  outline(line, closed) {
    const { context } = this;
    context.beginPath();
    line.forEach(([x, y]) => context.lineTo(x, y));
    if (closed) context.closePath();
    context.setLineDash([6, 4]);
    context.lineWidth = 1.5;
    context.strokeStyle = this.ink;
    context.stroke();
    context.setLineDash([]);
  }

  nearest(x, y, within = 14) {
    const { points, n, shown } = this, [u, v] = this.toMap(x, y), reach = (within / this.view.scale) ** 2;
    let best = -1, least = reach;
    for (let i = 0; i < n; i++) {
      if (!shown[i]) continue;
      const away = (points[2 * i] - u) ** 2 + (points[2 * i + 1] - v) ** 2;
      if (away < least) [best, least] = [i, away];
    }
    return best;
  }

  // ---- pointer and keys

  listen() {
    const { root } = this, where = (event) => {
      const box = root.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    root.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...where(event));
    }, { passive: false });
    root.addEventListener("pointerdown", (event) => {
      root.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, where(event));
      this.start = where(event);
      this.travelled = false;
      if ((this.drawing || event.shiftKey) && this.pointers.size === 1) this.line = [where(event)];
    });
    root.addEventListener("pointermove", (event) => this.move(event, where(event)));
    for (const kind of ["pointerup", "pointercancel"]) root.addEventListener(kind, (event) => this.end(event, where(event)));
    root.addEventListener("pointerleave", () => (this.tip.hidden = true));
    root.addEventListener("dblclick", (event) => this.zoom(2, ...where(event)));
    root.addEventListener("keydown", (event) => this.key(event));
  }

  move(event, [x, y]) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.hover(x, y);
    if (Math.hypot(x - this.start[0], y - this.start[1]) > 4) this.travelled = true;
    if (this.line) {
      this.line.push([x, y]);
      this.draw();
    } else if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const apart = ([u, v]) => Math.hypot(u - other[0], v - other[1]) || 1;
      this.zoom(apart([x, y]) / apart(before), (x + other[0]) / 2, (y + other[1]) / 2);
    } else if (this.travelled) this.pan(x - before[0], y - before[1]);
    this.pointers.set(event.pointerId, [x, y]);
  }

  end(event, [x, y]) {
    if (!this.pointers.delete(event.pointerId)) return;
    const { line } = this;
    this.line = null;
    if (line && line.length > 3 && this.travelled) return this.onLasso(line.map(([u, v]) => this.toMap(u, v)));
    this.draw();
    if (!this.travelled && event.type === "pointerup") {
      const row = this.nearest(x, y, 18);
      if (row >= 0) this.open(row);
    }
  }

  hover(x, y) {
    const row = this.nearest(x, y);
    this.tip.hidden = row < 0;
    if (row < 0) return;
    this.tip.replaceChildren(...this.label(row));
    const { width, height } = this.tip.getBoundingClientRect();
    this.tip.style.left = `${Math.min(x + 14, this.width - width - 4)}px`;
    this.tip.style.top = `${y + 14 + height > this.height ? y - height - 8 : y + 14}px`;
  }

  viewed() { // the corners of what is in view
    return [[0, 0], [this.width, 0], [this.width, this.height], [0, this.height]].map(([x, y]) => this.toMap(x, y));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 160 : 50;
    const steps = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (steps[event.key]) this.pan(...steps[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.3);
    else if (event.key === "-") this.zoom(1 / 1.3);
    else if (event.key === "Enter") {
      const row = this.nearest(this.width / 2, this.height / 2, Infinity);
      if (row >= 0) this.open(row);
    } else return;
    event.preventDefault();
  }
}
