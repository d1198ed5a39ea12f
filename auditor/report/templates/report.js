// Comfort only: sorting, filtering and labels under the pointer.  Every figure and word is on the page without it.
"use strict";

const texts = document.body.dataset;

// A number where the cell has one, else its text.
function key(row, column) {
  const cell = row.cells[column];
  const given = cell.dataset.v ?? cell.textContent.trim();
  const value = Number(given.replace("\u2212", "-"));
  return given !== "" && !Number.isNaN(value) ? value : given.toLowerCase();
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
  return typeof a === "number" ? -1 : 1;
}

function sort(table, head) {
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map((row) => [key(row, head.cellIndex), row]);
  rows.sort((a, b) => (up ? 1 : -1) * compare(a[0], b[0]));
  table.tBodies[0].append(...rows.map((pair) => pair[1]));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    if (head.classList.contains("fixed")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, head));
    head.append(button);
  }
}

// Filters of the index: the verdicts work by style sheet alone, the words and the count need this.
const find = document.getElementById("find");
if (find) {
  const rows = [...document.querySelectorAll("table.index tbody tr")].map((row) => [row, row.textContent.toLowerCase()]);
  const boxes = [...document.querySelectorAll(".filters input[type=checkbox]")];
  const told = document.getElementById("shown");
  const update = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const off = new Set(boxes.filter((box) => !box.checked).map((box) => box.value));
    let shown = 0;
    for (const [row, text] of rows) {
      const hit = words.every((word) => text.includes(word));
      row.hidden = !hit;
      if (hit && !off.has(row.dataset.verdict)) shown += 1;
    }
    told.textContent = texts.shown.replace("{n}", shown).replace("{of}", rows.length);
  };
  find.addEventListener("input", update);
  for (const box of boxes) box.addEventListener("change", update);
  find.closest("p").hidden = false;
  update();
}

// Labels of marks under the pointer; the tables below the figures say the same.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);
document.addEventListener("pointermove", (event) => {
  const mark = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const right = event.clientX + tip.offsetWidth + 24 > document.documentElement.clientWidth;
  tip.style.left = `${event.pageX + (right ? -tip.offsetWidth - 12 : 12)}px`;
  tip.style.top = `${event.pageY + 14}px`;
});
