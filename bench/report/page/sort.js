// Tables: a click on a column's head, or Enter on it, sorts by it; a third one gives the first order.
"use strict";
(() => {
  const keyOf = (block, column) => {
    const rows = block.rows;
    const cell = rows[rows.length - 1].cells[column];
    // Only the first row of a block has its name.
    const named = cell.matches(".name") ? rows[0].cells[column] : cell;
    if ("empty" in named.dataset) return null;
    return "key" in named.dataset ? Number(named.dataset.key) : named.textContent.trim();
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const original = [...table.tBodies];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      // Names from A on; of figures the largest first.
      const orders = head.matches(".name") ? ["ascending", "descending"] : ["descending", "ascending"];
      button.addEventListener("click", () => {
        const next = orders[orders.indexOf(head.getAttribute("aria-sort")) + 1];
        for (const other of heads) other.removeAttribute("aria-sort");
        if (next === undefined) {
          table.append(...original);
          return;
        }
        head.setAttribute("aria-sort", next);
        const sign = next === "ascending" ? 1 : -1;
        const keyed = original.map((block) => [keyOf(block, column), block]);
        keyed.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null);
          return sign * compare(a, b);
        });
        table.append(...keyed.map(([, block]) => block));
      });
    });
  }
})();
