/* What the planner chooses with any size of SRAM: the steps of flashgen/plan/search.py over stored candidates.
   Sizes in bytes, times in microseconds. */
"use strict";

const KIB = 1024;

/** Blocks of a candidate that share an SM, and what limits them. */
function sharing(row, sram) {
  const { spare, reserved } = data.target;
  const memory = row.smem ? Math.floor((sram + spare) / (row.smem + reserved)) : 99;
  const limits = { "shared memory": memory, ...row.limits };
  let limit = "shared memory";
  for (const name of Object.keys(limits)) if (limits[name] < limits[limit]) limit = name;
  return { blocks: Math.max(limits[limit], 1), limit, limits };
}

/** The prediction for a candidate, by name. */
function timeOf(row, sram) {
  const { blocks } = sharing(row, sram);
  const [us, compute, dram, dramBytes, waves, bound, passes, promise] = row.times[Math.min(blocks, row.times.length) - 1];
  return { us, compute, dram, dramBytes, waves, bound, passes, promise, blocks };
}

/** Why a candidate is out at this size; empty where it is not. */
function rejection(row, sram) {
  if (row.rejected) return { kind: row.kind, why: row.rejected };
  if (row.smem > sram) {
    const why = `needs ${showSize(row.smem)} of shared memory, ${showSize(sram)} exist`;
    return { kind: "too much shared memory", why };
  }
  return null;
}

/** Numbers of the candidates that are possible at this size, best first. */
function ranking(kernel, sram) {
  kernel.rankings ??= new Map();
  if (!kernel.rankings.has(sram)) kernel.rankings.set(sram, ranked(kernel, sram));
  return kernel.rankings.get(sram);
}

function ranked(kernel, sram) {
  const { rows } = kernel;
  const fits = (i) => rejection(rows[i], sram) === null;
  const promise = new Map();
  const add = (list, more) => {
    for (const i of more.filter(fits)) {
      promise.set(i, timeOf(rows[i], sram).promise);
      list.push(i);
    }
    return list.sort((a, b) => {
      const [x, y] = [promise.get(a), promise.get(b)];
      const first = x.findIndex((value, at) => value !== y[at]);
      return first < 0 ? 0 : x[first] - y[first];
    });
  };
  let good = add([], rows.flatMap((row, i) => (row.tried ? [i] : [])));
  const steps = Math.max(-1, ...rows.flatMap((row) => (row.better || []).map(([step]) => step)));
  for (let step = 0; step <= steps; step += 1) {
    const worth = good.filter((i, at) => at < data.rules.doubted || rows[i].spill <= data.rules.spill);
    const made = worth.flatMap((i) => {
      const wanted = rows[i].better.filter(([at, , needs]) => at === step && (!needs || needs === sharing(rows[i], sram).limit));
      return wanted.map(([, child]) => child);
    });
    good = add(good, made);
  }
  if (kernel.proved !== null && sram === data.slider.start) {
    good = [kernel.proved, ...good.filter((i) => i !== kernel.proved)];
  }
  return good;
}

/** The least SRAM with which anything works, and the candidate that needs it. */
function smallest(kernel) {
  const possible = kernel.rows.filter((row) => row.tried && !row.rejected);
  return possible.reduce((a, b) => (b.smem < a.smem || (b.smem === a.smem && b.warps > a.warps) ? b : a));
}

/** The best candidate of each cell, by "BLOCK_M,BLOCK_N"; by measured time where that is asked for. */
function cells(kernel, order, measured) {
  const best = new Map();
  const known = measured ? order.filter((i) => kernel.rows[i].measured !== null) : [...order];
  if (measured) known.sort((a, b) => kernel.rows[a].measured - kernel.rows[b].measured);
  for (const i of known) if (!best.has(cellOf(kernel.rows[i]))) best.set(cellOf(kernel.rows[i]), i);
  return best;
}

/** A candidate in short: BLOCK_M × BLOCK_N, and the rest as the planner names it. */
const nameOf = (row) => `${row.sides.BLOCK_M} × ${row.sides.BLOCK_N}, ${row.name.slice(row.name.indexOf(",") + 2)}`;
const cellOf = (row) => `${row.sides.BLOCK_M},${row.sides.BLOCK_N}`;
const sidesOf = (kernel, name) => [...new Set(kernel.rows.map((row) => row.sides[name]))].sort((a, b) => a - b);
