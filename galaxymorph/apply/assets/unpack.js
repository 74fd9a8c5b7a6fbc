// Reads the binary data of a page: base64 in script elements, most of it compressed by gzip.

const KINDS = { class: Uint8Array, number: Float32Array };

export function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64), found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
  return found;
}

export async function gunzipped(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// What `Blobs.fractions` has written: the largest whole number means missing.
export function fractionsOf(whole, scale) {
  const missing = whole.BYTES_PER_ELEMENT === 1 ? 255 : 65535;
  return Float32Array.from(whole, (value) => (value === missing ? NaN : value / scale));
}

// A column of the page with its values: codes of names, numbers (NaN: missing), or texts.
export function columnOf(described, bytes) {
  const { name, group, kind, names, scale } = described;
  if (kind === "text") return { name, group, kind, values: JSON.parse(new TextDecoder().decode(bytes)) };
  if (kind === "fraction") {
    const whole = scale === 250 ? bytes : new Uint16Array(bytes.buffer);
    return { name, group, kind, values: fractionsOf(whole, scale) };
  }
  const Kind = kind === "class" && names.length > 255 ? Uint16Array : KINDS[kind];
  return { name, group, kind, names, values: new Kind(bytes.buffer) };
}

// The script elements of the page; each is emptied once it has been read.
export class Blobs {
  constructor(root) {
    this.root = root;
  }

  async bytes(at, packed = true) {
    const element = this.root.getElementById(`blob-${at}`);
    const raw = bytesOf(element.textContent);
    element.textContent = "";
    return packed ? gunzipped(raw) : raw;
  }

  async array(at, Kind) {
    return new Kind((await this.bytes(at)).buffer);
  }

  async texts(at) {
    return JSON.parse(new TextDecoder().decode(await this.bytes(at)));
  }
}
