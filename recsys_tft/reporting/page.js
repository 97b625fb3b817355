"use strict";
(() => {
  const root = document.documentElement;
  const themes = ["", "dark", "light"];
  const names = { "": "Theme: system", dark: "Theme: dark", light: "Theme: light" };
  const button = document.getElementById("theme");
  const show = (theme) => {
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    button.textContent = names[theme];
  };
  let theme = "";
  try { theme = localStorage.getItem("recsys-tft-theme") || ""; } catch { /* a file may have no storage */ }
  show(themes.includes(theme) ? theme : "");
  button.addEventListener("click", () => {
    const next = themes[(themes.indexOf(root.dataset.theme || "") + 1) % themes.length];
    show(next);
    try { localStorage.setItem("recsys-tft-theme", next); } catch { /* then it is forgotten */ }
  });

  const list = document.getElementById("columns");
  if (!list) return;
  const search = document.getElementById("search");
  const dataSet = document.getElementById("data-set");
  const order = document.getElementById("order");
  const found = document.getElementById("found");
  const none = document.getElementById("none");
  const rows = Array.from(list.children);
  const value = (row, key) => Number(row.dataset[key]);
  const filter = () => {
    const text = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.dataset.name.includes(text) || (dataSet.value && row.dataset.set !== dataSet.value);
      shown += row.hidden ? 0 : 1;
    }
    found.textContent = `${shown} column${shown === 1 ? "" : "s"}`;
    none.hidden = shown > 0;
  };
  const sort = () => {
    const key = order.value;
    const sorted = rows.slice();
    if (key === "name") sorted.sort((a, b) => (a.dataset.name < b.dataset.name ? -1 : a.dataset.name > b.dataset.name ? 1 : 0));
    else if (key !== "place") sorted.sort((a, b) => value(b, key) - value(a, key));
    list.append(...sorted);
  };
  search.addEventListener("input", filter);
  dataSet.addEventListener("change", filter);
  order.addEventListener("change", sort);
  if (order.value !== "place") sort();
})();
