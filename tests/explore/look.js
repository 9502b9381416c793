/* What a reader at this width would miss: elements beyond the edge, text with too little contrast (WCAG AA). */
const number = (text) => text.match(/[\d.]+/g).map(Number);
const linear = (x) => (x / 255 <= 0.04045 ? x / 255 / 12.92 : ((x / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
function behind(node) {
  for (let at = node; at instanceof Element; at = at.parentElement) {
    const colour = number(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
}
const wide = [];
const faint = [];
let seen = 0;
for (const node of document.body.querySelectorAll("*")) {
  const box = node.getBoundingClientRect();
  if (!box.width || node.closest("[hidden], script, .skip, option")) continue;
  if (!node.closest(".scroll, pre") && (box.right > window.innerWidth + 0.5 || box.left < -0.5)) wide.push(node.outerHTML.slice(0, 120));
  const own = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.textContent.trim());
  if (!own) continue;
  seen += 1;
  const style = getComputedStyle(node);
  const ink = number(node instanceof SVGElement ? style.fill : style.color);
  const [a, b] = [light(ink), light(behind(node))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${node.outerHTML.slice(0, 120)}`);
}
return { wide, faint, seen, lightness: light(number(getComputedStyle(document.body).backgroundColor)) };
