"use strict";
// Sortable, filterable tables. Cells are compared by their data-value; a number that is not there
// comes last, whichever way a column is sorted.

const PREFIX = { k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 };
const names = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function valueOf(row, column) {
  return row.cells[column].dataset.value;
}

function isNumber(table, column) {
  return table.tHead.rows[0].cells[column].classList.contains("number");
}

function compare(table, column, way) {
  const numeric = isNumber(table, column);
  return (a, b) => {
    const [first, second] = [valueOf(a, column), valueOf(b, column)];
    if (first === "" || second === "") return (first === "") - (second === "");
    const order = numeric ? Number(first) - Number(second) : names.compare(first, second);
    return way * order || a.dataset.place - b.dataset.place;
  };
}

function sortBy(table, column) {
  const head = table.tHead.rows[0].cells;
  const before = head[column].ariaSort;
  // figures are read from the highest, names and ranks from the first
  const down = isNumber(table, column) && head[column].textContent.trim() !== "rank";
  const first = down ? "descending" : "ascending";
  const second = down ? "ascending" : "descending";
  for (const cell of head) cell.ariaSort = "none";
  head[column].ariaSort = before === first ? second : first;
  const way = head[column].ariaSort === "ascending" ? 1 : -1;
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare(table, column, way)));
}

function numberOf(text) {
  const found = /^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([kMGTPE]?)$/i.exec(text.trim());
  if (!found) return NaN;
  return Number(found[1]) * (PREFIX[found[2]] ?? PREFIX[found[2].toUpperCase()] ?? 1);
}

// "> 10", "<= 3 T", "2-5", "2–5", "2..5" or a number -> whether a value fits; null: not understood
function numberTest(text) {
  const range = /^(.*\d[kMGTPE]?)\s*(?:-|–|\.\.|to)\s*(\d.*)$/i.exec(text);
  if (range) {
    const [low, high] = [numberOf(range[1]), numberOf(range[2])];
    return Number.isNaN(low + high) ? null : (value) => value >= low && value <= high;
  }
  const [, sign, rest] = /^(>=|<=|≥|≤|>|<|=)?(.*)$/.exec(text);
  const limit = numberOf(rest);
  if (Number.isNaN(limit)) return null;
  // as the table shows it, a number has three digits
  const near = (value) => Math.abs(value - limit) <= 5e-3 * Math.abs(limit);
  const tests = {
    ">": (value) => value > limit,
    "<": (value) => value < limit,
    ">=": (value) => value >= limit,
    "≥": (value) => value >= limit,
    "<=": (value) => value <= limit,
    "≤": (value) => value <= limit,
  };
  return tests[sign] ?? near;
}

function filterTest(input, column) {
  const text = input.value.trim();
  input.removeAttribute("aria-invalid");
  if (text === "") return null;
  if (input.dataset.kind === "text") {
    const wanted = text.toLowerCase();
    return (row) => valueOf(row, column).toLowerCase().includes(wanted);
  }
  const test = numberTest(text);
  if (test === null) {
    input.setAttribute("aria-invalid", "true");
    return null;
  }
  return (row) => valueOf(row, column) !== "" && test(Number(valueOf(row, column)));
}

function applyFilters(table, tools) {
  const inputs = [...table.querySelectorAll("tr.filters input")];
  const tests = inputs.map(filterTest).filter(Boolean);
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !tests.every((test) => test(row));
  const shown = rows.filter((row) => !row.hidden).length;
  const used = inputs.some((input) => input.value.trim() !== "");
  tools.querySelector(".clear").hidden = !used;
  const invalid = inputs.some((input) => input.hasAttribute("aria-invalid"));
  const hint = invalid ? " A number filter reads: > 10, <= 3 T, 2–5." : "";
  tools.querySelector(".found").textContent =
    used ? `${shown} of ${rows.length} rows shown.${hint}` : "";
}

function setUp(table) {
  [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button.sort");
    if (button) sortBy(table, button.closest("th").cellIndex);
  });
  const tools = document.querySelector(`.tools[data-for="${table.id}"]`);
  const filters = table.querySelector("tr.filters");
  const open = tools.querySelector(".filter");
  open?.addEventListener("click", () => {
    filters.hidden = !filters.hidden;
    open.setAttribute("aria-expanded", String(!filters.hidden));
    if (!filters.hidden) filters.querySelector("input").focus();
  });
  filters.addEventListener("input", () => applyFilters(table, tools));
  tools.querySelector(".clear")?.addEventListener("click", () => {
    for (const input of filters.querySelectorAll("input")) input.value = "";
    applyFilters(table, tools);
    open.focus();
  });
  const further = tools.querySelector(".further");
  further?.addEventListener("click", () => {
    const all = table.classList.toggle("all");
    further.setAttribute("aria-pressed", String(all));
  });
}

document.querySelectorAll("table.sortable").forEach(setUp);
