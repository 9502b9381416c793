/* Charts with their tables, the rejected, and what the controls do. */
const bar = (value, most, said) => make("span", { class: "bar", style: `--share:${most ? Math.min(value / most, 1) : 0}` }, said);

function showTraffic(kernel, now) {
  kernel.curve ??= curveSizes().map((size) => traffic(kernel, size));
  drawTraffic(kernel, kernel.curve, now);
  const wanted = new Set([...data.others.map(([, size]) => size), ...[16, 32, 64, 96, 128, 192, 256, 384, 512].map((k) => k * KIB), state.sram]);
  const sizes = [...wanted].filter((s) => s >= data.slider.least && s <= data.slider.most).sort((a, b) => a - b);
  const rows = sizes.map((size) => {
    const p = traffic(kernel, size);
    const counted = p.plan === null ? ["no tile fits", "–", "–", "–"] : [p.name, showTime(p.us), showBytes(p.plan), showBytes(p.least)];
    return [showSize(size), ...counted, showBytes(p.flash), showBytes(p.standard)];
  });
  const heads = ["SRAM", "plan", "predicted time", "requested by the plan", "by the thriftiest tiles", "Θ(N² d² / M)", "Θ(N d + N²)"];
  fill("traffic-table", table("Requested bytes against SRAM", heads, rows));
}

function showRoofline(kernel, row, time, best) {
  const others = best.filter((o) => o !== row).map((o) => ({ row: o, intensity: o.flops / o.requested, rate: rate(o, timeOf(o, state.sram).us) }));
  drawRoofline(kernel, row, time, others.filter((o) => o.intensity > 0 && o.rate > 0));
  const reached = `${short(rate(row, time.us))} TFLOP/s`;
  const mine = rooflinePoints(row, time).map(([, said, name, intensity]) => [`${nameOf(row)}, ${said}`, short(intensity), reached, `${short(ceiling(name, intensity))} TFLOP/s`]);
  const theirs = others.map((o) => [`${nameOf(o.row)}, a requested byte`, short(o.intensity), `${short(o.rate)} TFLOP/s`, `${short(ceiling("l2", o.intensity))} TFLOP/s`]);
  fill("roofline-table", table("Roofline: the selected candidate, then the best of the other cells", ["candidate", "FLOP a byte", "predicted", "ceiling there"], [...mine, ...theirs]));
}

function showOccupancy(kernel, row, ranked) {
  const { blocks, limit, limits } = sharing(row, state.sram);
  const most = Math.max(...Object.values(limits));
  const rows = Object.entries(limits).map(([name, n]) => [name, bar(n, most, String(n)), name === limit ? "binds" : ""]);
  fill("limits", table(`${nameOf(row)}: ${plural(blocks, "block")} an SM, ${blocks * row.warps} of ${data.target.warps} warps, limited by ${limit}`, ["if only this were scarce", "blocks an SM", ""], rows));
  const list = ranked.slice(0, 12).map((i) => {
    const c = kernel.rows[i];
    const s = sharing(c, state.sram);
    const time = timeOf(c, state.sram);
    return [nameOf(c), showTime(time.us), c.measured ? showTime(c.measured) : "–", showSize(c.smem), String(c.registers), String(c.spill), String(s.blocks), `${s.blocks * c.warps} of ${data.target.warps}`, s.limit, time.bound];
  });
  const heads = ["candidate", "predicted", "measured", "shared memory", "registers", "spilled bytes", "blocks an SM", "warps", "occupancy limited by", "time limited by"];
  const any = ranked.some((i) => kernel.rows[i].measured);
  const without = (entries) => (any ? entries : entries.filter((_, i) => i !== 2));
  fill("best", table(`The ${list.length} most promising at ${showSize(state.sram)}`, without(heads), list.map(without)));
}

function showPasses(kernel, row, time) {
  const most = Math.max(1, ...row.passes.flat());
  const rows = row.passes.map((clocks, loop) => [kernel.loops[loop], ...clocks.map((n) => bar(n, most, digits(n))), digits(time.passes[loop])]);
  fill("passes", table(`${nameOf(row)}: clocks of one pass of each loop`, ["loop", ...data.causes, `together, ${plural(time.blocks, "block")}`], rows));
}

function showRejected(kernel) {
  const out = kernel.rows.filter((row) => row.tried).map((row) => [row, rejection(row, state.sram)]).filter(([, r]) => r);
  const counts = new Map();
  for (const [, r] of out) counts.set(r.kind, (counts.get(r.kind) || 0) + 1);
  const choices = [["", `all (${out.length})`], ...[...counts].sort((a, b) => b[1] - a[1]).map(([kind, n]) => [kind, `${kind} (${n})`])];
  if (!counts.has(state.kind)) state.kind = "";
  fill("kinds", ...choices.map(([value, text]) => make("option", { value, selected: value === state.kind }, text)));
  const wanted = state.words.toLowerCase().split(/\s+/).filter((word) => word);
  const matches = out.filter(([row, r]) => (!state.kind || r.kind === state.kind) && wanted.every((word) => `${row.name} ${nameOf(row)} ${r.why}`.toLowerCase().includes(word)));
  const tried = kernel.rows.filter((row) => row.tried).length;
  byId("rejected-count").textContent = `${matches.length} of ${out.length} rejected, of the ${tried} tilings tried at first`;
  fill("rejected-table", table("Rejected candidates", ["candidate", "why"], matches.map(([row, r]) => [nameOf(row), r.why])));
}

async function copy() {
  const row = here().rows[selected(ranking(here(), state.sram), cells(here(), ranking(here(), state.sram), state.measured))];
  const text = sourceOf(row);
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  byId("copied").textContent = `Copied ${plural(row.source.length, "line")}.`;
}

function setSram(bytes) {
  if (!Number.isFinite(bytes) || bytes < 1) return;
  state.sram = Math.round(bytes);
  show();
}

function start() {
  byId("sram").addEventListener("input", (event) => setSram(Number(event.target.value) * KIB));
  byId("kib").addEventListener("change", (event) => setSram(Math.min(Number(event.target.value) * KIB, data.slider.most)));
  for (const chip of document.querySelectorAll("#others button")) chip.addEventListener("click", () => setSram(Number(chip.value)));
  for (const input of document.querySelectorAll("input[name=kernel]")) {
    input.addEventListener("change", () => { Object.assign(state, { kernel: Number(input.value), cell: null, measured: false }); start.kernel(); });
  }
  start.kernel = () => {
    const any = here().rows.some((row) => row.measured);
    byId("measured-choice").hidden = !any;
    byId("measured").checked = state.measured;
    byId("kernel-note").textContent = here().note;
    byId("counted").textContent = here().counted ? "They are counted: each load and store within its bounds." : "They are an estimate here: whole tiles of all loads.";
    fill("formulas", table(`Sizes of the plan for ${data.slider.start / KIB} KiB of SRAM`, ["size", "formula"], here().formulas.map(([name, text]) => [name, make("code", {}, text)])));
    show();
  };
  byId("measured").addEventListener("change", (event) => { state.measured = event.target.checked; show(); });
  byId("back").addEventListener("click", () => { state.cell = null; byId("cell").textContent = ""; show(); });
  byId("copy").addEventListener("click", copy);
  byId("kinds").addEventListener("change", (event) => { state.kind = event.target.value; showRejected(here()); });
  byId("words-filter").addEventListener("input", (event) => { state.words = event.target.value; showRejected(here()); });
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; show(); } });
  start.kernel();
}

start();
