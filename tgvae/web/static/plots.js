/** Plotly figures of topics and documents, read by pointing or with the arrow keys. */
import { el, fill, find, percent, request } from "./api.js";

/** Load the plots when they are about to scroll into view: Plotly is most of what the page loads. */
export function startPlots() {
  const observer = new IntersectionObserver(
    ([{ isIntersecting }]) => {
      if (!isIntersecting) return;
      observer.disconnect();
      fill(find("figures"), draw);
    },
    { rootMargin: "1000px" },
  );
  observer.observe(find("plots"));
}

async function draw() {
  const [{ config, plots }] = await Promise.all([request("plots"), window.Plotly ?? load("plotly/plotly.min.js")]);
  return plots.map((plot) => figureOf(plot, config));
}

function load(src) {
  return new Promise((resolve, reject) => {
    const script = el("script", { src });
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error("The plots cannot be shown because Plotly did not load.")));
    document.head.append(script);
  });
}

function figureOf({ heading, caption, figure }, config) {
  const plot = el("div", { className: "plotly-graph-div", tabIndex: 0 });
  plot.setAttribute("role", "application");
  plot.setAttribute("aria-label", `${heading}; arrow keys move between marks`);
  const heat = figure.data[0].type === "heatmap"; // its labels need a minimum width
  const holder = el("div", { className: heat ? "wide" : "" }, plot);
  const status = el("p", { className: "plot-status", role: "status" });
  requestAnimationFrame(async () => {
    await window.Plotly.newPlot(plot, figure.data, figure.layout, config);
    readByKeys(plot, figure.data, status);
  });
  const scroll = el("div", { className: "scroll" }, holder);
  return el("figure", {}, el("h3", {}, heading), scroll, status, el("figcaption", {}, caption));
}

/** Left and right move between the marks of a group (cells of a row), up and down between groups. */
function readByKeys(plot, data, status) {
  const heat = data[0].type === "heatmap";
  const groups = heat ? data[0].y.map(() => data[0].x.length) : data.flatMap(({ hovertext }) => hovertext?.length ?? []);
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  let [group, index] = [0, -1];
  plot.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    group = (group + step[0] + groups.length) % groups.length;
    index = Math.min(Math.max(index + step[1], 0), groups[group] - 1);
    const mark = heat ? { xval: index, yval: group } : [{ curveNumber: group, pointNumber: index }];
    window.Plotly.Fx.hover(plot, mark);
    status.textContent = heat ? cell(plot, data[0], group, index) : plainText(data[group].hovertext[index]);
  });
  plot.addEventListener("blur", () => window.Plotly.Fx.unhover(plot));
}

function cell(plot, { x, y, colorbar }, row, column) {
  const value = plot.calcdata[0][0].z[row][column]; // the figure holds them in packed form
  const format = colorbar.tickformat.endsWith("%") ? percent : (number) => number.toFixed(2);
  return plainText(`${y[row]}, ${x[column]}: ${Number.isFinite(value) ? format(value) : "–"}`);
}

/** Hover text without markup; DOMParser neither runs nor loads anything. */
function plainText(text) {
  return new DOMParser().parseFromString(text.replaceAll("<br>", " · "), "text/html").body.textContent;
}
