// The disk stays round, buttons zoom for lack of a wheel, words that are found can be shown, and
// the facts of a word stay after a tap.
"use strict";
(() => {
  const figure = document.querySelector("figure.disk");
  const [plot, found, facts] = [".plot", ".found", ".facts"].map((name) => figure.querySelector(name));
  const words = JSON.parse(document.getElementById("disk-words").textContent);
  const NEAR = 8; // zoom at which a word is shown that was searched
  const MOST = 12; // words that are listed
  let view, touched; // touched: where the reader last was, in pixels of the plot

  // The signals that vega-lite makes of the selection `frame`, which the axes follow; null: as drawn.
  const show = (x, y) => view.signal("frame_x", x).signal("frame_y", y).runAsync();
  const domain = (axis) => view.scale(axis).domain();
  const zoom = (factor) => {
    if (!factor) return show(null, null);
    const [x, y] = touched ?? [view.width() / 2, view.height() / 2];
    // The point in question stays in its place.
    const nearer = (axis, pixel) => {
      const fixed = view.scale(axis).invert(pixel);
      return domain(axis).map((end) => fixed + (end - fixed) / factor);
    };
    return show(nearer("x", x), nearer("y", y));
  };
  const goTo = (word) => {
    show(null, null).then(() => {
      const half = (domain("x")[1] - domain("x")[0]) / 2 / NEAR;
      return show([word.x - half, word.x + half], [word.y - half, word.y + half]);
    });
  };

  const list = (sought) => {
    const text = sought.toLowerCase();
    const hits = text ? words.filter((word) => word.text.toLowerCase().includes(text)) : [];
    const buttons = hits.slice(0, MOST).map((word) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = word.text;
      button.addEventListener("click", () => goTo(word));
      return button;
    });
    const rest = hits.length - buttons.length;
    const none = text && !hits.length ? "No word in the figure contains this." : "";
    found.replaceChildren(...buttons, rest > 0 ? `and ${rest} more` : none);
  };
  const describe = (word) => {
    const name = document.createElement("strong");
    name.textContent = word?.text ?? "";
    facts.replaceChildren(name, word ? `: ${word.facts}` : "");
  };

  for (const button of figure.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => view && zoom(Number(button.dataset.zoom)));
  }
  plot.addEventListener("pointerdown", (event) => {
    const svg = plot.querySelector("svg").getBoundingClientRect();
    const [left, top] = view.origin();
    touched = [event.clientX - svg.left - left, event.clientY - svg.top - top];
  });
  plot.addEventListener("drawn", ({ detail }) => {
    view = detail;
    touched = undefined;
    const square = () => view.height(view.width()).resize().runAsync();
    view.addSignalListener("width", square);
    view.addSignalListener("search", (_, sought) => list(sought));
    view.addSignalListener("held", (_, held) => describe(words[held.id?.[0]]));
    list("");
    describe();
    square();
  });
})();
