/* Charts on logarithmic axes, drawn at the width they get, so that their letters keep their size. */
const PAD = { left: 52, right: 14, top: 12, bottom: 40 };

/** Where a value stands between the ends of an axis. */
function axis(low, high, from, to) {
  const [a, b] = [Math.log(low), Math.log(high)];
  return (value) => from + ((Math.log(value) - a) / (b - a)) * (to - from);
}

/** 1, 2, 5 … times powers of ten within the ends; powers of ten only where there would be many. */
function ticks(low, high) {
  const wide = Math.log10(high / low) > 2.4;
  const out = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    for (const step of wide ? [1] : [1, 2, 5]) {
      const value = step * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) out.push(value);
    }
  }
  return out;
}

/** An empty chart with its axes; gives the SVG and the two scales. */
function chart(id, label, x, y) {
  const width = Math.max(280, byId(id).clientWidth || 600);
  const height = Math.round(Math.min(360, Math.max(240, width * 0.6)));
  const [right, bottom] = [width - PAD.right, height - PAD.bottom];
  const across = axis(x.low, x.high, PAD.left, right);
  const up = axis(y.low, y.high, bottom, PAD.top);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  for (const value of x.ticks) {
    svg.append(make("line", { class: "rule", x1: across(value), x2: across(value), y1: PAD.top, y2: bottom }));
    svg.append(make("text", { x: across(value), y: bottom + 16, "text-anchor": "middle" }, x.show(value)));
  }
  for (const value of y.ticks) {
    svg.append(make("line", { class: "rule", x1: PAD.left, x2: right, y1: up(value), y2: up(value) }));
    svg.append(make("text", { x: PAD.left - 6, y: up(value) + 4, "text-anchor": "end" }, y.show(value)));
  }
  svg.append(make("text", { class: "unit", x: right, y: height - 6, "text-anchor": "end" }, x.title));
  svg.append(make("text", { class: "unit", x: PAD.left + 5, y: PAD.top + 9 }, y.title));
  return { svg, across, up, right, bottom };
}

/** Points of a curve that stays as it is until the next point. */
const steps = (points) => points.flatMap(([x, y], i) => (i ? [[x, points[i - 1][1]], [x, y]] : [[x, y]]));

const path = (points, attributes) => make("path", { fill: "none", d: points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join(""), ...attributes });
