/* The curves over SRAM and the roofline. */
/** Sizes of SRAM at which curves are drawn: evenly spaced on a logarithmic axis, whole KiB. */
function curveSizes() {
  const { least, most } = data.slider;
  const count = 150;
  const sizes = Array.from({ length: count + 1 }, (_, i) => Math.round((least * (most / least) ** (i / count)) / KIB) * KIB);
  return [...new Set([...sizes.map((s) => Math.min(Math.max(s, least), most)), data.slider.start])].sort((a, b) => a - b);
}

/** What a size of SRAM costs: bytes requested by the plan, by the thriftiest candidate, by the papers' forms. */
function traffic(kernel, sram) {
  const ranked = ranking(kernel, sram);
  const { standard, flash } = data.papers;
  const paper = { sram, standard, flash: flash / sram };
  if (!ranked.length) return { ...paper, plan: null };
  const rows = ranked.map((i) => kernel.rows[i]);
  return {
    ...paper, plan: rows[0].requested, least: Math.min(...rows.map((row) => row.requested)),
    name: nameOf(rows[0]), us: timeOf(rows[0], sram).us,
  };
}

const SERIES = [
  ["standard", "standard attention, Θ(N d + N²)"], ["flash", "FlashAttention, Θ(N² d² / M)"],
  ["plan", "requested by the plan"], ["least", "requested by the thriftiest tiles"],
];

function drawTraffic(kernel, curve, now) {
  const values = curve.flatMap((p) => SERIES.map(([name]) => p[name])).filter((v) => v);
  const { least, most } = data.slider;
  const y = { low: Math.min(...values) / 1.3e9, high: Math.max(...values) * 1.3e-9, show: (v) => digits(v, 6), title: "GB" };
  const x = { low: least, high: most, show: (v) => digits(v / KIB), title: "SRAM of a thread block, KiB" };
  x.ticks = [4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048].map((k) => k * KIB).filter((v) => v >= least && v <= most);
  y.ticks = ticks(y.low, y.high);
  const said = now.plan ? `With ${showSize(now.sram)} the plan requests ${showBytes(now.plan)}.` : "";
  const { svg, across, up, bottom } = chart("traffic", `Requested bytes against SRAM. ${said} The numbers are in the table below.`, x, y);
  for (const [name] of SERIES) {
    const points = curve.filter((p) => p[name]).map((p) => [across(p.sram), up(p[name] / 1e9)]);
    svg.append(path(name === "flash" ? points : steps(points), { class: `line ${name}` }));
  }
  const at = across(Math.min(Math.max(now.sram, least), most));
  svg.append(make("line", { class: "now", x1: at, x2: at, y1: PAD.top, y2: bottom }));
  if (now.plan) svg.append(make("circle", { class: "mark", cx: at, cy: up(now.plan / 1e9), r: 5 }));
  fill("traffic", svg);
}

/** Predicted time against SRAM, in outline above the slider and on its scale. */
function drawOutline(kernel, now) {
  const { least, most } = data.slider;
  const [width, height, thumb] = [Math.max(200, byId("outline").clientWidth || 600), 44, 8];
  const times = curveSizes().map((size) => [size, ranking(kernel, size)[0]]).filter(([, i]) => i !== undefined);
  const points = times.map(([size, i]) => [size, timeOf(kernel.rows[i], size).us]);
  if (!points.length) return fill("outline");
  const [low, high] = [Math.min(...points.map((p) => p[1])), Math.max(...points.map((p) => p[1]))];
  const across = (size) => thumb + ((size - least) / (most - least)) * (width - 2 * thumb);
  const up = axis(low, high * 1.0001, height - 4, 6);
  const line = steps([...points.map(([size, us]) => [across(size), up(us)]), [across(most), up(points.at(-1)[1])]]);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  const end = [[line.at(-1)[0], height], [line[0][0], height]];
  svg.append(path([...line, ...end], { class: "area" }), path(line, { class: "line plan" }));
  const at = across(Math.min(Math.max(now, least), most));
  svg.append(make("line", { class: "now", x1: at, x2: at, y1: 0, y2: height }));
  return fill("outline", svg);
}

/** The ceilings of a roofline, TFLOP/s at so many FLOPs a byte. */
const CEILINGS = [["l2", "L2"], ["dram", "DRAM"]];
const ceiling = (name, intensity) => Math.min(data.target.peak, (data.target[name] * intensity) / 1000);

/** The points of a roofline: FLOPs a requested byte and a DRAM byte of the selected candidate. */
function rooflinePoints(row, time) {
  return [
    ["requested", "a requested byte", "l2", row.flops / row.requested],
    ["dram", "a DRAM byte", "dram", row.flops / time.dramBytes],
  ].filter(([, , , intensity]) => Number.isFinite(intensity) && intensity > 0);
}

function drawRoofline(kernel, row, time, others) {
  const reached = rate(row, time.us);
  const points = rooflinePoints(row, time);
  const all = [...points.map((p) => p[3]), ...others.map((o) => o.intensity)];
  const knees = CEILINGS.map(([name]) => (data.target.peak * 1000) / data.target[name]);
  const x = { low: Math.min(...all, ...knees) / 3, high: Math.max(...all, ...knees) * 3, show: (v) => digits(v, 6), title: "FLOP a byte" };
  const y = { low: Math.min(reached, ...others.map((o) => o.rate)) / 3, high: data.target.peak * 1.6, show: (v) => digits(v, 6), title: "TFLOP/s" };
  [x.ticks, y.ticks] = [ticks(x.low, x.high), ticks(y.low, y.high)];
  const { svg, across, up, right } = chart("roofline", `Roofline: ${short(reached)} TFLOP/s of ${short(data.target.peak)}. The numbers are in the table below.`, x, y);
  for (const [name, said] of CEILINGS) {
    const knee = (data.target.peak * 1000) / data.target[name];
    const start = Math.max(x.low, (y.low * 1000) / data.target[name]);
    svg.append(path([[across(start), up(ceiling(name, start))], [across(knee), up(data.target.peak)]], { class: `line ${name}` }));
    const middle = Math.sqrt(start * knee);
    const slope = (Math.atan2(up(data.target.peak) - up(ceiling(name, start)), across(knee) - across(start)) * 180) / Math.PI;
    const place = `translate(${across(middle)} ${up(ceiling(name, middle)) - 6}) rotate(${slope})`;
    svg.append(make("text", { transform: place, "text-anchor": "middle" }, said));
  }
  const left = across(Math.min(...knees));
  svg.append(path([[left, up(data.target.peak)], [right, up(data.target.peak)]], { class: "line peak" }));
  svg.append(make("text", { x: right, y: up(data.target.peak) - 5, "text-anchor": "end" }, "matrix units"));
  svg.append(path([[left, up(data.target.sustained)], [right, up(data.target.sustained)]], { class: "line sustained" }));
  for (const o of others) svg.append(make("circle", { class: "other", cx: across(o.intensity), cy: up(o.rate), r: 2.5 }));
  if (points.length === 2) svg.append(path(points.map((p) => [across(p[3]), up(reached)]), { class: "line joint" }));
  for (const [kind, , , intensity] of points) {
    const [cx, cy] = [across(intensity), up(reached)];
    svg.append(kind === "dram" ? path([[cx, cy - 7], [cx + 7, cy], [cx, cy + 7], [cx - 7, cy], [cx, cy - 7]], { class: "mark hollow" }) : make("circle", { class: "mark", cx, cy, r: 5 }));
  }
  fill("roofline", svg);
}
