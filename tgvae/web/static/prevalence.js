/** Prevalence of a topic by year and by label: small plots, and tables with all values. */
import { bar, el, percent } from "./api.js";

const [WIDTH, HEIGHT] = [300, 56]; // of the viewBox of a plot
const TOP_LABELS = 3; // labels on a card; the table has all of them
const TITLES = { year: "Year", label: "Label" };

/** Nodes for a card: a line over the years, and the labels with the largest shares. */
export function prevalencePlots({ topic, prevalence }, groups) {
  const { year, label } = groups;
  return [
    ...(year ? [yearPlot(topic, year.names.map(Number), prevalence.year)] : []),
    ...(label ? [labelList(label.names, prevalence.label)] : []),
  ];
}

/** Tables for an open card. */
export function prevalenceTables({ topic, prevalence }, groups) {
  return Object.entries(groups).map(([kind, { names, documents }]) => {
    const head = [TITLES[kind], "Share", "Documents"].map((text) => el("th", { scope: "col" }, text));
    const rows = names.map((name, i) => {
      const cells = [percent(prevalence[kind][i]), documents[i].toLocaleString("en")];
      return el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((text) => el("td", {}, text)));
    });
    const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
    const box = el("div", { className: "table scroll", tabIndex: 0, role: "region" }, table);
    box.setAttribute("aria-label", `Topic ${topic} by ${kind}, table`);
    return box;
  });
}

function yearPlot(topic, years, shares) {
  const [first, last, max] = [years[0], years.at(-1), Math.max(...shares, 1e-6)];
  const peak = shares.indexOf(Math.max(...shares));
  const x = (i) => ((years[i] - first) / (last - first)) * WIDTH;
  const points = shares.map((share, i) => `${x(i).toFixed(1)},${(HEIGHT - (share / max) * HEIGHT).toFixed(1)}`);
  const svg = svgElement("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
  svg.append(
    svgElement("polygon", { class: "area", points: `0,${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}` }),
    svgElement("polyline", { class: "line", points: points.join(" ") }),
    svgElement("path", { class: "peak", d: `M${points[peak]}h0` }),
  );
  const summary = `highest in ${years[peak]}: ${percent(shares[peak])}`;
  const ends = `${percent(shares[0])} in ${first}, ${percent(shares.at(-1))} in ${last}`;
  svg.setAttribute("aria-label", `Share of topic ${topic} over the years: ${ends}, ${summary}`);
  const value = el("span", {}, summary);
  svg.addEventListener("pointermove", ({ clientX }) => {
    const { left, width } = svg.getBoundingClientRect();
    const i = nearest(years, first + ((clientX - left) / width) * (last - first));
    value.textContent = `${years[i]}: ${percent(shares[i])}`;
  });
  svg.addEventListener("pointerleave", () => (value.textContent = summary));
  const caption = el("figcaption", {}, el("span", {}, String(first)), value, el("span", {}, String(last)));
  return el("figure", { className: "by" }, svg, caption);
}

function labelList(names, shares) {
  const max = Math.max(...shares, 1e-6);
  const order = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a]);
  const rows = order.slice(0, TOP_LABELS).map((i) => el("li", {}, bar(shares[i] / max), `${percent(shares[i])} of ${names[i]}`));
  return el("ul", { className: "words by facts" }, ...rows);
}

function nearest(years, wanted) {
  const distances = years.map((year) => Math.abs(year - wanted));
  return distances.indexOf(Math.min(...distances));
}

function svgElement(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
