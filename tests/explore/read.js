/* A chart read like a reader does: the height of its mark between two ticks, beside its table's number. */
const [figure, column] = arguments;
const svg = document.querySelector(`#${figure} svg`);
const value = (text) => Number(text.textContent.replace(/,/g, ""));
const marks = [...svg.querySelectorAll("text[text-anchor=end]")].filter((t) => Number.isFinite(value(t)) && Number(t.getAttribute("x")) < 60);
const [low, high] = [marks[0], marks.at(-1)];
const place = (text) => Number(text.getAttribute("y")) - 4;
const y = Number(svg.querySelector("circle.mark").getAttribute("cy"));
const share = (y - place(low)) / (place(high) - place(low));
const chart = value(low) * (value(high) / value(low)) ** share;
const rows = [...document.querySelectorAll(`#${figure}-table tbody tr`)];
const row = figure === "traffic" ? rows.find((r) => r.cells[0].textContent === showSize(state.sram)) : rows[0];
return { chart, table: row.cells[column].textContent };
