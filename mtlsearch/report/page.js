"use strict";
// Draws each figure from the JSON beside it, in the colours of the reader's scheme, and again when that changes.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const colours = JSON.parse(document.getElementById("dark").textContent);
  const settings = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  function coloured(text) {
    if (!dark.matches) return text;
    return text.replace(/"(#[0-9a-f]{6})([0-9a-f]{2})?"/g, (whole, colour, alpha) =>
      colour in colours ? `"${colours[colour]}${alpha ?? ""}"` : whole);
  }

  async function draw(element) {
    if (element.closest("details:not([open])")) return; // drawn when it is opened: it has no size yet
    const { data, layout } = JSON.parse(coloured(element.nextElementSibling.textContent));
    if (narrow.matches) {
      layout.dragmode = false; // a finger scrolls the page
      layout.font = { size: 11 };
    }
    const config = narrow.matches ? { ...settings, displayModeBar: false } : settings;
    await Plotly.react(element, data, layout, config);
    element.dataset.drawn = dark.matches ? "dark" : "light";
  }

  async function drawAll(root) {
    for (const element of root.querySelectorAll(".plot")) {
      await draw(element);
      await new Promise((resolve) => setTimeout(resolve)); // lets the page answer between two figures
    }
    root.dataset.drawn = "all";
  }

  for (const folded of document.querySelectorAll("details")) {
    folded.addEventListener("toggle", () => folded.open && drawAll(folded));
  }
  dark.addEventListener("change", () => drawAll(document.body));
  drawAll(document.body);
})();
