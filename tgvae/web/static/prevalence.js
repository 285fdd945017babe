/** How much of the documents of a year, or of a label, a topic has: small pictures, and tables with all numbers. */
import { bar, el, percent } from "./api.js";

const [WIDE, TALL] = [300, 56]; // of a picture, in its own units
const FIRST = 3; // labels beside a card; the table has all
const TITLES = { year: "Year", label: "Label" };

/** Nodes for a card: a line over the years, and the labels that have most of the topic. */
export function pictureOf({ topic, prevalence }, groups) {
  const { year, label } = groups;
  return [
    ...(year ? [overYears(topic, year.names.map(Number), prevalence.year)] : []),
    ...(label ? [ofLabels(label.names, prevalence.label)] : []),
  ];
}

/** Tables for a card that is opened. */
export function tablesOf({ topic, prevalence }, groups) {
  return Object.entries(groups).map(([kind, { names, documents }]) => {
    const head = [TITLES[kind], "Share", "Documents"].map((text) => el("th", { scope: "col" }, text));
    const rows = names.map((name, place) => {
      const cells = [percent(prevalence[kind][place]), documents[place].toLocaleString("en")];
      return el("tr", {}, el("th", { scope: "row" }, name), ...cells.map((text) => el("td", {}, text)));
    });
    const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
    const box = el("div", { className: "table scroll", tabIndex: 0, role: "region" }, table);
    box.setAttribute("aria-label", `Topic ${topic} by ${kind}, a table`);
    return box;
  });
}

function overYears(topic, years, shares) {
  const [first, last, most] = [years[0], years.at(-1), Math.max(...shares, 1e-6)];
  const peak = shares.indexOf(Math.max(...shares));
  const across = (place) => ((years[place] - first) / (last - first)) * WIDE;
  const points = shares.map((share, place) => `${across(place).toFixed(1)},${(TALL - (share / most) * TALL).toFixed(1)}`);
  const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, preserveAspectRatio: "none", role: "img" });
  svg.append(
    drawn("polygon", { class: "area", points: `0,${TALL} ${points.join(" ")} ${WIDE},${TALL}` }),
    drawn("polyline", { class: "line", points: points.join(" ") }),
    drawn("path", { class: "peak", d: `M${points[peak]}h0` }),
  );
  const summary = `most in ${years[peak]}: ${percent(shares[peak])}`;
  const ends = `${percent(shares[0])} in ${first}, ${percent(shares.at(-1))} in ${last}`;
  svg.setAttribute("aria-label", `Share of topic ${topic} over the years: ${ends}, ${summary}`);
  const told = el("span", {}, summary);
  svg.addEventListener("pointermove", ({ clientX }) => {
    const { left, width } = svg.getBoundingClientRect();
    const near = nearest(years, first + ((clientX - left) / width) * (last - first));
    told.textContent = `${years[near]}: ${percent(shares[near])}`;
  });
  svg.addEventListener("pointerleave", () => (told.textContent = summary));
  const caption = el("figcaption", {}, el("span", {}, String(first)), told, el("span", {}, String(last)));
  return el("figure", { className: "by" }, svg, caption);
}

function ofLabels(names, shares) {
  const most = Math.max(...shares, 1e-6);
  const order = shares.map((_, place) => place).sort((a, b) => shares[b] - shares[a]);
  const rows = order.slice(0, FIRST).map((i) => el("li", {}, bar(shares[i] / most), `${percent(shares[i])} of ${names[i]}`));
  return el("ul", { className: "words by facts" }, ...rows);
}

function nearest(years, wanted) {
  const far = years.map((year) => Math.abs(year - wanted));
  return far.indexOf(Math.min(...far));
}

function drawn(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
