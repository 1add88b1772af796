// Figures: each is drawn when it comes near the view, and all of them before the page is printed.
"use strict";
(() => {
  const plots = [...document.querySelectorAll(".plot")];
  const drawn = new Map(); // by plot the width that it was drawn for
  const PRINT = 648; // pixels, the width that the figures' columns are meant for
  const LEAST = 0.9; // of a column's width in print, below which there are fewer side by side

  const embed = (plot, spec) => vegaEmbed(plot, spec, {
    // `ast`: expressions are interpreted, so that the page's policy can forbid eval.
    ast: true, actions: false, renderer: "svg", tooltip: { theme: "page" },
  });

  const draw = async (plot) => {
    const width = plot.clientWidth;
    drawn.set(plot, width);
    const panels = [];
    let across = 1; // panels side by side
    const text = document.getElementById(plot.dataset.spec).textContent;
    const spec = JSON.parse(text, (key, part) => {
      if (part?.columns) { // of panels or of a legend
        const side = Math.floor((width * part.columns) / (LEAST * PRINT));
        part.columns = Math.max(1, Math.min(part.columns, side));
        if (part.facet || part.concat) across = Math.max(across, part.columns);
      }
      if (part?.height && typeof part.width === "number") panels.push(part);
      return part;
    });
    spec.config.axis.labelLimit = Math.min(240, 0.42 * width);
    try {
      for (const panel of panels) panel.width = width / across;
      let result = await embed(plot, spec);
      if (panels.length) { // now it is known what axes and legends take
        const excess = plot.querySelector("svg").getBoundingClientRect().width - width;
        for (const panel of panels) panel.width = Math.max(40, panel.width - excess / across);
        result.finalize();
        result = await embed(plot, spec);
      }
      plot.dispatchEvent(new CustomEvent("drawn", { detail: result.view }));
    } catch (error) {
      plot.textContent = `This figure could not be drawn: ${error.message}`;
      console.error(error);
    }
  };

  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      if (!drawn.has(target)) draw(target);
    }
  }, { rootMargin: "400px" });
  for (const plot of plots) watcher.observe(plot);

  let timer;
  window.addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      for (const [plot, width] of drawn) {
        // The disk follows by itself, and keeps where the reader is.
        if (plot.clientWidth !== width && !plot.closest(".disk")) draw(plot);
      }
    }, 200);
  });
  window.addEventListener("beforeprint", () => plots.filter((plot) => !drawn.has(plot)).map(draw));
})();
