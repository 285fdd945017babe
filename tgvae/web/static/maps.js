/** Pictures of topics and documents by Plotly, read by pointing or by arrow keys. */
import { ask, el, fill, find, percent } from "./api.js";

/** Draws them when they are nearly in sight: Plotly is most of what the page loads. */
export function startPictures() {
  const near = new IntersectionObserver(
    ([{ isIntersecting }]) => {
      if (!isIntersecting) return;
      near.disconnect();
      fill(find("pictures"), draw);
    },
    { rootMargin: "1000px" },
  );
  near.observe(find("map"));
}

async function draw() {
  const [{ config, pictures }] = await Promise.all([ask("map"), window.Plotly ?? load("static/plotly.js")]);
  return pictures.map((picture) => framed(picture, config));
}

function load(src) {
  return new Promise((done, failed) => {
    const script = el("script", { src });
    script.addEventListener("load", done);
    script.addEventListener("error", () => failed(new Error("The pictures cannot be drawn: Plotly was not loaded.")));
    document.head.append(script);
  });
}

function framed({ heading, caption, figure }, config) {
  const plot = el("div", { className: "plotly-graph-div", tabIndex: 0 });
  plot.setAttribute("role", "application");
  plot.setAttribute("aria-label", `${heading}; arrow keys go from mark to mark`);
  const heat = figure.data[0].type === "heatmap"; // its labels need room of their own
  const holder = el("div", { className: heat ? "wide" : "" }, plot);
  const told = el("p", { className: "told", role: "status" });
  requestAnimationFrame(async () => {
    await window.Plotly.newPlot(plot, figure.data, figure.layout, config);
    readByKeys(plot, figure.data, told);
  });
  const caught = el("figcaption", {}, caption);
  return el("figure", {}, el("h3", {}, heading), el("div", { className: "scroll" }, holder), told, caught);
}

/** Left and right go along the marks of a group (the cells of a row), up and down to another. */
function readByKeys(plot, data, told) {
  const heat = data[0].type === "heatmap";
  const groups = heat ? data[0].y.map(() => data[0].x.length) : data.flatMap(({ hovertext }) => hovertext?.length ?? []);
  const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  let [group, place] = [0, -1];
  plot.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    group = (group + step[0] + groups.length) % groups.length;
    place = Math.min(Math.max(place + step[1], 0), groups[group] - 1);
    const mark = heat ? { xval: place, yval: group } : [{ curveNumber: group, pointNumber: place }];
    window.Plotly.Fx.hover(plot, mark);
    told.textContent = heat ? cell(plot, data[0], group, place) : plain(data[group].hovertext[place]);
  });
  plot.addEventListener("blur", () => window.Plotly.Fx.unhover(plot));
}

function cell(plot, { x, y, colorbar }, row, column) {
  const value = plot.calcdata[0][0].z[row][column]; // in the figure they are packed
  const told = colorbar.tickformat.endsWith("%") ? percent : (number) => number.toFixed(2);
  return plain(`${y[row]}, ${x[column]}: ${Number.isFinite(value) ? told(value) : "–"}`);
}

/** A hover text without its markup; nothing in it is run or loaded. */
function plain(text) {
  return new DOMParser().parseFromString(text.replaceAll("<br>", " · "), "text/html").body.textContent;
}
