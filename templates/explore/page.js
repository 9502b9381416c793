/* The page: what is looked at, and how it is shown. */
const state = { kernel: 0, sram: data.slider.start, cell: null, measured: false, kind: "", words: "" };
const here = () => data.kernels[state.kernel];

/** The colours span at least this range of times, so that equal ones look equal. */
const LEAST_RANGE = 1.1;

/** The selected cell's best where one is selected and has any; else the plan. */
function selected(ranked, best) {
  const found = state.cell && best.get(state.cell);
  return found === undefined || found === null ? ranked[0] : found;
}

function show() {
  const kernel = here();
  const ranked = ranking(kernel, state.sram);
  const best = cells(kernel, ranked, state.measured);
  showSlider(kernel, ranked);
  showHeat(kernel, ranked, best);
  showRejected(kernel);
  drawOutline(kernel, state.sram);
  showTraffic(kernel, traffic(kernel, state.sram));
  for (const id of ["plan", "code", "roof", "occupancy", "pass"]) byId(id).hidden = !ranked.length;
  if (!ranked.length) return;
  const row = kernel.rows[selected(ranked, best)];
  const time = timeOf(row, state.sram);
  showPlan(kernel, ranked);
  showSource(kernel, row);
  byId("roof").hidden = !row.flops; // a softmax alone has no dots
  if (row.flops) showRoofline(kernel, row, time, [...best.values()].map((i) => kernel.rows[i]));
  showOccupancy(kernel, row, ranked);
  showPasses(kernel, row, time);
}

function showSlider(kernel, ranked) {
  byId("sram").value = Math.round(state.sram / KIB);
  byId("sram").setAttribute("aria-valuetext", showSize(state.sram));
  if (document.activeElement !== byId("kib")) byId("kib").value = state.sram / KIB;
  for (const chip of document.querySelectorAll("#others button")) {
    chip.setAttribute("aria-pressed", String(Number(chip.value) === state.sram));
  }
  if (!ranked.length) {
    const least = smallest(kernel);
    byId("answer").textContent = `No tile fits ${showSize(state.sram)}; the smallest that works needs ${showSize(least.smem)} (${nameOf(least)}).`;
    return;
  }
  const row = kernel.rows[ranked[0]];
  const time = timeOf(row, state.sram);
  byId("answer").textContent = `${showSize(state.sram)}: ${nameOf(row)}; ${showTime(time.us)}, ${showBytes(row.requested)} requested.`;
}

function showPlan(kernel, ranked) {
  const row = kernel.rows[ranked[0]];
  const time = timeOf(row, state.sram);
  const { blocks, limit } = sharing(row, state.sram);
  byId("plan-head").textContent = `The plan at ${showSize(state.sram)}`;
  const facts = [
    ["predicted time", showTime(time.us)], ["dots", row.flops ? `${short(rate(row, time.us))} TFLOP/s` : "none"],
    ["requested of L2", showBytes(row.requested)], ["from DRAM", showBytes(time.dramBytes)],
    ["shared memory a block", showSize(row.smem)], ["registers a thread", `${row.compiled ? "" : "≈ "}${row.registers}`],
    ["blocks an SM", digits(blocks)], ["limited by", time.bound],
  ];
  fill("facts", ...facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  const total = data.kernels.reduce((sum, k) => { const r = ranking(k, state.sram); return r.length ? sum + timeOf(k.rows[r[0]], state.sram).us : NaN; }, 0);
  const tried = kernel.rows.filter((r) => r.tried).length;
  const first = ranked.filter((i) => kernel.rows[i].tried).length;
  const words = [
    `${nameOf(row)}${row.compiled ? ", confirmed by the compiler" : ""}: the best of ${ranked.length} candidates that fit: ${first} of the ${tried} tilings tried at first, and ${ranked.length - first} made of them by descriptors or a limit of registers.`,
    `${kernel.order[0].toUpperCase()}${kernel.order.slice(1)}.`,
    `An SM holds ${plural(blocks, "block")} at a time, ${blocks * row.warps} of ${data.target.warps} warps, limited by ${limit}; ${plural(row.blocks, "block")} make ${short(time.waves)} waves over ${data.target.sms} SMs.`,
    `What takes the time is ${time.bound}: ${showTime(time.compute)} of work on the SMs against ${showTime(time.dram)} of DRAM traffic.`,
  ];
  if (row.measured) words.push(`Measured: ${showTime(row.measured)}.`);
  if (data.kernels.length > 1) words.push(`All ${data.kernels.length} kernels of this program together: ${Number.isNaN(total) ? "no plan at this size" : showTime(total)}.`);
  fill("words", ...words.map((text) => make("li", {}, text)));
}

function showHeat(kernel, ranked, best) {
  const [rowsOf, columns] = [sidesOf(kernel, "BLOCK_M"), sidesOf(kernel, "BLOCK_N")];
  const timeIn = (i) => (state.measured ? kernel.rows[i].measured : timeOf(kernel.rows[i], state.sram).us);
  const times = [...best.values()].map(timeIn);
  const [fast, slow] = [Math.min(...times), Math.max(...times)];
  const [unit, scale] = fast >= 1000 ? ["ms", 1000] : ["µs", 1];
  const chosen = ranked.length ? selected(ranked, best) : null;
  const focus = state.cell || (ranked.length ? cellOf(kernel.rows[ranked[0]]) : `${rowsOf[0]},${columns[0]}`);
  const cell = (m, n) => {
    const key = `${m},${n}`;
    const i = best.get(key);
    const common = { type: "button", "data-cell": key, tabindex: key === focus ? "0" : "-1", onclick: () => { state.cell = key; show(); sayCell(key); }, onkeydown: move };
    if (i === undefined) {
      return make("td", {}, make("button", { ...common, class: "out", "aria-label": `BLOCK_M ${m}, BLOCK_N ${n}: ${whyEmpty(kernel, key)}` }, "–"));
    }
    const { back, ink } = colour(1 - Math.log(timeIn(i) / fast) / Math.log(Math.max(slow / fast, LEAST_RANGE)));
    const doubtful = kernel.rows[i].spill > data.rules.spill;
    const plan = ranked[0] === i;
    const label = `BLOCK_M ${m}, BLOCK_N ${n}: ${showTime(timeIn(i))}, ${nameOf(kernel.rows[i])}${plan ? ", the plan" : ""}${doubtful ? ", may spill too much" : ""}`;
    const button = make("button", { ...common, class: plan ? "plan" : null, style: `background:${back};color:${ink}`, "aria-pressed": String(i === chosen), "aria-label": label, title: label }, `${short(timeIn(i) / scale)}${doubtful ? "*" : ""}`);
    return make("td", {}, button);
  };
  const head = make("tr", {}, make("th", { scope: "col", class: "corner" }, "M ↓ N →"), ...columns.map((n) => make("th", { scope: "col" }, String(n))));
  const body = rowsOf.map((m) => make("tr", {}, make("th", { scope: "row" }, String(m)), ...columns.map((n) => cell(m, n))));
  const kept = document.activeElement && document.activeElement.dataset.cell;
  const caption = make("caption", {}, `${state.measured ? "Measured" : "Predicted"} time in ${unit}, the best over warps and stages`);
  fill("heat", make("table", {}, caption, make("thead", {}, head), make("tbody", {}, ...body)));
  if (kept) byId("heat").querySelector(`[data-cell="${kept}"]`)?.focus();
  fill("scale", ...(times.length ? [`${showTime(slow)}`, make("span", { class: "ramp", "aria-hidden": "true" }), `${showTime(fast)}`] : []));
}

function whyEmpty(kernel, key) {
  const kinds = kernel.rows.filter((row) => row.tried && cellOf(row) === key).map((row) => rejection(row, state.sram)).filter((r) => r);
  const fitting = kinds.find((r) => r.kind === "too much shared memory") || kinds.find((r) => r.kind === "too many registers") || kinds[0];
  return state.measured && !fitting ? "not measured" : fitting ? fitting.kind : "not measured";
}

function sayCell(key) {
  const best = cells(here(), ranking(here(), state.sram), state.measured);
  const [m, n] = key.split(",");
  byId("cell").textContent = best.has(key) ? `Below: ${nameOf(here().rows[best.get(key)])}.` : `BLOCK_M ${m}, BLOCK_N ${n} has nothing to show: ${whyEmpty(here(), key)}.`;
}

/** Arrow keys, Home and End walk the heat map. */
function move(event) {
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -99], End: [0, 99] };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const grid = [...byId("heat").querySelectorAll("tbody tr")].map((tr) => [...tr.querySelectorAll("button")]);
  const at = grid.findIndex((line) => line.includes(event.target));
  const [down, right] = steps[event.key];
  const line = grid[Math.min(Math.max(at + down, 0), grid.length - 1)];
  const next = line[Math.min(Math.max(grid[at].indexOf(event.target) + right, 0), line.length - 1)];
  for (const button of grid.flat()) button.tabIndex = button === next ? 0 : -1;
  next.focus();
}

function sourceOf(row) {
  return row.source ? `${row.source.map((i) => data.lines[i]).join("\n")}\n` : "";
}

function showSource(kernel, row) {
  byId("code-head").textContent = `Generated source: ${nameOf(row)}`;
  let within = false;
  const lines = (row.source || []).map((i) => {
    const [parts, after] = marked(data.lines[i], within);
    within = after;
    return make("span", { class: "code-line" }, ...parts, "\n");
  });
  fill("source", ...(lines.length ? lines : [`No source is stored for this size: flashgen build --sram ${state.sram} writes it.`]));
  byId("copy").hidden = !lines.length;
  byId("copied").textContent = "";
}
