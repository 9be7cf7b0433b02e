"use strict";
// Plotly draws the figures that the page holds as data, in the colours of the theme.

const figures = JSON.parse(document.getElementById("figures").textContent);
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down",
  "pentagon", "cross"]; // not as many as colours, so that pairs come late
const DASHES = ["solid", "dash", "dot", "dashdot"];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function palette() {
  return colour("series").split(/\s+/);
}

function seriesColour(number) {
  const colours = palette();
  return colours[number % colours.length];
}

function painted(trace) {
  const { role, series } = trace.meta;
  const round = Math.floor(series / palette().length);
  if (role === "bars") {
    return { ...trace, marker: { color: series.map(seriesColour), opacity: 0.8 } };
  }
  if (role === "seeds" || role === "images") {
    const ink = colour(role === "seeds" ? "ink" : "quiet");
    const symbol = role === "seeds" ? "circle" : "diamond-open";
    const error_x = { ...trace.error_x, color: ink };
    return { ...trace, error_x, marker: { color: ink, size: 6, symbol } };
  }
  if (role === "line") {
    return { ...trace, line: { color: seriesColour(series), width: 1.8, dash: DASHES[round % 4] } };
  }
  const symbol = SYMBOLS[series % SYMBOLS.length];
  const marker = { color: seriesColour(series), size: 11, symbol };
  return { ...trace, marker, error_y: trace.error_y && { ...trace.error_y, color: marker.color } };
}

function ofSeries(item) {
  return seriesColour(Number(/^series (\d+)$/.exec(item.name)[1]));
}

function layoutOf(layout, narrow) {
  const axis = {
    gridcolor: colour("line"),
    zerolinecolor: colour("edge"),
    linecolor: colour("edge"),
    tickcolor: colour("edge"),
  };
  const shapes = (layout.shapes ?? []).map(
    (shape) => ({ ...shape, line: { ...shape.line, color: ofSeries(shape) } }));
  const annotations = (layout.annotations ?? []).map(
    (note) => ({ ...note, font: { color: ofSeries(note), size: 11 } }));
  return {
    ...layout,
    xaxis: { ...axis, ...layout.xaxis },
    yaxis: { ...axis, ...layout.yaxis, ...(narrow ? { tickfont: { size: 10 } } : {}) },
    shapes,
    annotations,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12.5, color: colour("ink") },
    hoverlabel: {
      bgcolor: colour("raised"),
      bordercolor: colour("edge"),
      font: { color: colour("ink") },
      align: "left",
      namelength: -1,
    },
    legend: { orientation: "h", yanchor: "bottom", y: 1.01, x: 0, font: { size: 11.5 } },
    margin: { l: 60, r: 16, t: 8, b: 48 },
  };
}

const OPTIONS = { responsive: true, displaylogo: false, modeBarButtons: [["toImage"]] };

async function draw() {
  for (const place of document.querySelectorAll(".chart")) {
    const figure = figures[place.dataset.figure];
    const layout = layoutOf(figure.layout, place.clientWidth < 480);
    await Plotly.react(place, figure.data.map(painted), layout, OPTIONS);
  }
  document.documentElement.dataset.drawn = "true";
}

document.addEventListener("theme", draw);
draw();
