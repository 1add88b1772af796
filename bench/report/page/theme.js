// Light or dark: as the system says, until the reader says otherwise. In the head, so that the page
// never shows in the wrong one first.
"use strict";
(() => {
  const KEY = "hyplora-bench-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  // A browser may forbid a page from a file to keep anything.
  const kept = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem(KEY, theme); } catch { /* not kept */ } };

  const current = () => root.dataset.theme ?? (system.matches ? "dark" : "light");
  const chosen = kept();
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;

  const changed = () => {
    for (const button of document.querySelectorAll("button.theme")) {
      const other = current() === "dark" ? "light" : "dark";
      button.hidden = false;
      button.textContent = other === "dark" ? "☾ Dark" : "☀ Light";
      button.setAttribute("aria-label", `Show the page in ${other} colours`);
    }
  };
  system.addEventListener("change", changed);
  document.addEventListener("DOMContentLoaded", () => {
    changed();
    for (const button of document.querySelectorAll("button.theme")) {
      button.addEventListener("click", () => {
        root.dataset.theme = current() === "dark" ? "light" : "dark";
        keep(root.dataset.theme);
        changed();
      });
    }
  });
})();
