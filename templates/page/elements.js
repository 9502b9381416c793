/* Numbers and elements. */
const byId = (id) => document.getElementById(id);
const digits = (x, most = 0) => x.toLocaleString("en-US", { maximumFractionDigits: most });

/** Three digits that count. */
function short(x) {
  if (x === 0) return "0";
  const left = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(x))));
  return x.toLocaleString("en-US", { minimumFractionDigits: Math.min(left, 4), maximumFractionDigits: Math.min(left, 4) });
}

/** An element with attributes and children; texts are never read as HTML. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "circle", "rect", "text", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

const fill = (id, ...children) => byId(id).replaceChildren(...children);
