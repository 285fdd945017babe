/** Topics: words, coherence, prevalence, typical sentences; to find, to sort, and to write about. */
import { bar, el, find, percent } from "./api.js";
import { pictureOf, tablesOf } from "./prevalence.js";
import { mix } from "./writing.js";

const FIRST = 12; // cards that are shown at first
const ORDERS = {
  share: ["share", (a, b) => b.share - a.share],
  npmi: ["coherence", (a, b) => b.npmi - a.npmi],
  name: ["first word", (a, b) => a.words[0].word.localeCompare(b.words[0].word)],
  topic: ["number", (a, b) => a.topic - b.topic],
};

export function startTopics(run, found) {
  const told = run.corpus
    ? ["Share: of the training documents. Coherence: how much oftener its words meet in documents than by chance (NPMI, from -1 to 1)."]
    : [];
  if (found.groups.year) told.push("The line is its share of each year's documents, as high as its own peak.");
  if (found.groups.label) told.push("Below stand the labels whose documents have most of it.");
  find("topics-about").textContent = told.join(" ");
  const most = Math.max(...found.topics.map(({ share }) => share));
  const cards = found.topics.map((topic) => ({ topic, card: card(topic, found.groups, most, run.can.includes("mixture")) }));
  const orders = Object.entries(ORDERS).filter(([key]) => found.topics.every((topic) => topic[key] !== null));
  find("sort").append(...orders.map(([value, [name]]) => el("option", { value }, name)));
  const show = () => arrange(cards, ORDERS[find("sort").value][1], find("find").value.trim().toLowerCase());
  find("sort").addEventListener("change", show);
  find("find").addEventListener("input", show);
  find("all").addEventListener("click", () => {
    const next = cards[FIRST].card;
    find("all").remove();
    show();
    (next.querySelector("button") ?? next.querySelector("summary")).focus();
  });
  show();
}

/** Puts cards in order, and shows those that fit; of all of them the first, until all are asked for. */
function arrange(cards, order, wanted) {
  cards.sort((a, b) => order(a.topic, b.topic));
  find("cards").append(...cards.map(({ card }) => card));
  const fits = ({ words, topic }) => words.some(({ word }) => word.includes(wanted)) || String(topic) === wanted;
  const fitting = cards.filter(({ topic }) => fits(topic));
  const shown = new Set(wanted || !find("all") ? fitting : fitting.slice(0, FIRST));
  for (const one of cards) one.card.hidden = !shown.has(one);
  if (find("all")) {
    find("all").hidden = shown.size === fitting.length;
    find("all").textContent = `Show all ${cards.length} topics`;
  }
  const told = fitting.length ? `${fitting.length} of ${cards.length} topics` : "No topic has such a word among its first ten.";
  find("found").textContent = wanted && told;
}

function card(topic, groups, most, mixes) {
  const coherence = topic.npmi === null ? "" : ` · coherence ${topic.npmi.toFixed(2)}`;
  const facts = () => el("p", { className: "facts" }, bar(topic.share / most), `share ${percent(topic.share)}${coherence}`);
  const more = el("details", {}, el("summary", {}, "Words, sentences and numbers"));
  more.addEventListener("toggle", () => more.append(...details(topic, groups)), { once: true });
  return el(
    "li",
    { className: "card" },
    el("h3", {}, `Topic ${topic.topic}`),
    ...(topic.share === null ? [] : [facts()]),
    el("p", { className: "top" }, topic.words.map(({ word }) => word).join(", ")),
    ...pictureOf(topic, groups),
    more,
    ...(mixes ? [buttons(topic)] : []),
  );
}

function details(topic, groups) {
  const most = topic.words[0].probability;
  const rows = topic.words.map(({ word, probability }) =>
    el("li", {}, bar(probability / most), `${word} `, el("small", {}, probability.toFixed(3))),
  );
  const parts = [el("h4", {}, "Words, with their probabilities"), el("ul", { className: "words" }, ...rows)];
  if (topic.sentences.length) {
    const items = topic.sentences.map((sentence) => el("li", {}, sentence));
    parts.push(el("h4", {}, "Typical sentences of the corpus"), el("ul", { className: "sentences" }, ...items));
  }
  return [...parts, ...tablesOf(topic, groups)];
}

function buttons({ topic }) {
  const write = el("button", { type: "button" }, "Write about it");
  const add = el("button", { type: "button" }, "Mix in");
  for (const button of [write, add]) button.setAttribute("aria-label", `${button.textContent}: topic ${topic}`);
  write.addEventListener("click", () => {
    mix(topic, 1, true);
    find("write").scrollIntoView();
    find(`weight-${topic}`).focus({ preventScroll: true });
  });
  add.addEventListener("click", () => {
    mix(topic);
    add.textContent = "Mixed in";
  });
  return el("p", { className: "buttons" }, write, " ", add);
}
