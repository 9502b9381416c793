/* Numbers with their units, tables, colours. */
const showSize = (bytes) => {
  for (const [unit, scale] of [["MiB", KIB * KIB], ["KiB", KIB]]) {
    if (bytes >= scale && Number.isInteger((bytes * 10) / scale)) return `${bytes / scale} ${unit}`;
  }
  return `${digits(bytes)} B`;
};
const showTime = (us) => (us >= 1000 ? `${short(us / 1000)} ms` : `${short(us)} µs`);
const showBytes = (bytes) => (bytes >= 1e12 ? `${short(bytes / 1e12)} TB` : bytes >= 1e9 ? `${short(bytes / 1e9)} GB` : `${short(bytes / 1e6)} MB`);
const rate = (row, us) => row.flops / us / 1e6;
const plural = (n, what) => `${digits(n)} ${what}${n === 1 ? "" : "s"}`;

/** A table: a caption, heads of columns, rows whose first entry is their head. */
function table(caption, heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...rest]) => {
    const entries = rest.map((entry) => (entry instanceof Node ? make("td", {}, entry) : make("td", {}, String(entry))));
    return make("tr", {}, make("th", { scope: "row" }, first), ...entries);
  });
  return make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
}

/** The colours of viridis (Smith and van der Walt), perceptually uniform; 0 is dark. */
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];

function colour(share) {
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const parts = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  const [a, b] = [parts(VIRIDIS[low]), parts(VIRIDIS[low + 1])];
  const rgb = a.map((x, i) => Math.round(x + (b[i] - x) * (at - low)));
  const [r, g, blue] = rgb.map((x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4));
  const light = 0.2126 * r + 0.7152 * g + 0.0722 * blue; // WCAG's relative luminance
  return { back: `rgb(${rgb.join(",")})`, ink: light > 0.179 ? "#000" : "#fff" };
}

/** A line of Python with its comments, words and texts marked; ``inside`` a long text or not. */
const WORDS = /\b(?:def|return|for|in|if|else|while|import|from|as|and|or|not|None|True|False|assert|range)\b/;
function marked(line, inside) {
  const out = [];
  const put = (kind, text) => text && out.push(kind ? make("span", { class: kind }, text) : text);
  let rest = line;
  let within = inside;
  while (rest) {
    const at = within ? rest.indexOf('"""') : rest.search(new RegExp(`"""|"[^"]*"|#|${WORDS.source}`));
    if (at < 0) { put(within ? "text" : "", rest); break; }
    if (within) {
      put("text", rest.slice(0, at + 3)); rest = rest.slice(at + 3); within = false;
      continue;
    }
    put("", rest.slice(0, at));
    rest = rest.slice(at);
    if (rest.startsWith("#")) { put("comment", rest); break; }
    if (rest.startsWith('"""')) { put("text", '"""'); rest = rest.slice(3); within = true; continue; }
    const token = rest.startsWith('"') ? rest.match(/^"[^"]*"/)[0] : rest.match(WORDS)[0];
    put(rest.startsWith('"') ? "text" : "word", token);
    rest = rest.slice(token.length);
  }
  return [out, within];
}
