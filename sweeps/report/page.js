// Niceties only: everything is readable without.
"use strict";
for (const each of document.querySelectorAll(".no-js")) each.classList.remove("no-js");

const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
document.getElementById("theme").addEventListener("click", () => {
  const now = root.dataset.theme || (dark.matches ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
});

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const source = button.parentElement.querySelector("pre");
    getSelection().selectAllChildren(source);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

// A table sorts by the data-value of its cells; rows that belong together share a tbody.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const whole = table.classList.contains("board");
  const items = () => [...(whole ? table.querySelectorAll("tbody.arm-rows") : table.tBodies[0].rows)];
  const row = (item) => (whole ? item.rows[0] : item);
  const value = (item, column) => {
    const cell = row(item).cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = text === "" ? NaN : Number(text);
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  };
  heads.forEach((head, column) => {
    if (!head.hasAttribute("data-sort")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const sorted = items().sort((a, b) => (up ? 1 : -1) * compare(value(a, column), value(b, column)));
      for (const group of table.querySelectorAll("tbody.group")) group.hidden = true;
      (whole ? table : table.tBodies[0]).append(...sorted);
    });
  });
}

addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});
