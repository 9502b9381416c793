/* The curves, drawn at the width they get and drawn anew when it changes. */
const charts = JSON.parse(byId("data").textContent);

/** 16,384 as 16K, so that powers of two fit under an axis. */
const showTick = (value) => (value >= 1024 && value % 1024 === 0 ? `${value / 1024}K` : digits(value, 6));

/** The ends of an axis that holds all values, and its numbers. */
function ends(values, title, given = []) {
  const [low, high] = [Math.min(...values) / 1.15, Math.max(...values) * 1.15];
  return { low, high, ticks: given.length ? given : ticks(low, high), show: showTick, title };
}

function draw({ id, title, x, y, lines, ticks: given }) {
  const points = lines.flatMap((line) => line.points);
  const { svg, across, up } = chart(
    id, `${title}. The numbers are in the table below.`,
    ends(points.map((p) => p[0]), x, given), ends(points.map((p) => p[1]), y),
  );
  for (const line of lines) {
    const at = line.points.map(([a, b]) => [across(a), up(b)]);
    svg.append(path(at, { class: `line ${line.style}` }));
    for (const [cx, cy] of at) svg.append(make("circle", { class: `dot ${line.style}`, cx, cy, r: 3.5 }));
  }
  fill(id, svg);
}

const drawAll = () => charts.forEach(draw);
drawAll();
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== width) requestAnimationFrame(drawAll);
  width = window.innerWidth;
});
