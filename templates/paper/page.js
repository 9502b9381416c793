/* The curves, drawn at the width they get and drawn anew when it changes. */
const charts = JSON.parse(byId("data").textContent);

/** 16,384 as 16K and 100,000 as 100k, so that they fit beside an axis. */
function showTick(value) {
  if (value >= 1024 && value % 1024 === 0) return `${value / 1024}K`;
  return value >= 10000 ? `${value / 1000}k` : digits(value, 6);
}

/** The ends of an axis that holds all values, with room for its title, and its numbers. */
function ends(values, title, room, given = []) {
  const [low, high] = [Math.min(...values) / 1.15, Math.max(...values) * room];
  return { low, high, ticks: given.length ? given : ticks(low, high), show: showTick, title };
}

function draw({ id, title, x, y, lines, ticks: given }) {
  const points = lines.flatMap((line) => line.points);
  const { svg, across, up } = chart(
    id, `${title}. The numbers are in the table below.`,
    ends(points.map((p) => p[0]), x, 1.15, given), ends(points.map((p) => p[1]), y, 1.7),
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
