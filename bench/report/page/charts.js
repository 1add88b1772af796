// Figures: each drawn when it comes near the view, and all of them before the page is printed.
"use strict";
(() => {
  const plots = [...document.querySelectorAll(".plot")];
  const drawn = new Map();

  // Colours are the page's variables, by name: a figure changes with the theme, and on paper.
  const config = (width) => {
    const [ink, soft, rule] = ["var(--ink)", "var(--soft)", "var(--rule)"];
    const font = getComputedStyle(document.body).getPropertyValue("--sans");
    const text = { labelFont: font, titleFont: font, labelColor: soft, titleColor: ink };
    return {
      background: "transparent",
      font,
      view: { stroke: null },
      axis: {
        ...text, labelFontSize: 11, titleFontSize: 12, titleFontWeight: 500, gridColor: rule,
        domainColor: rule, tickColor: rule, labelLimit: Math.min(240, 0.42 * width),
      },
      legend: {
        ...text, labelFontSize: 12, titleFontSize: 12, labelLimit: 260, orient: "bottom",
        columns: Math.max(1, Math.floor(width / 120)), symbolLimit: 0,
      },
      title: { color: ink, font, fontSize: 12, fontWeight: 600, anchor: "start" },
      text: { color: ink, font },
      rule: { color: soft },
    };
  };

  const draw = (plot) => {
    const spec = JSON.parse(document.getElementById(plot.dataset.spec).textContent);
    // `ast`: expressions are interpreted, so that the page's policy can forbid eval.
    const options = {
      ast: true, actions: false, renderer: "svg", config: config(plot.clientWidth),
      tooltip: { theme: "page" },
    };
    return vegaEmbed(plot, spec, options)
      .then((result) => {
        drawn.set(plot, result);
        plot.dispatchEvent(new CustomEvent("drawn", { detail: result.view }));
      })
      .catch((error) => {
        plot.textContent = `This figure could not be drawn: ${error.message}`;
        console.error(error);
      });
  };
  const drawAll = () => Promise.all(plots.filter((plot) => !drawn.has(plot)).map(draw));

  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      draw(target);
    }
  }, { rootMargin: "400px" });
  for (const plot of plots) watcher.observe(plot);

  window.addEventListener("beforeprint", drawAll);
})();
