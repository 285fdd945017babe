/** Topic cards: words, coherence, prevalence and typical sentences, with search, sorting and guided generation. */
import { bar, el, find, percent } from "./api.js";
import { prevalencePlots, prevalenceTables } from "./prevalence.js";
import { addTopic } from "./generation.js";

const FIRST = 12; // cards shown initially
const ORDERS = {
  share: ["share", (a, b) => b.share - a.share],
  npmi: ["coherence", (a, b) => b.npmi - a.npmi],
  name: ["first word", (a, b) => a.words[0].word.localeCompare(b.words[0].word)],
  topic: ["number", (a, b) => a.topic - b.topic],
};

export function startTopics(run, found) {
  const notes = run.corpus
    ? ["Share is the mean proportion in the training documents. Coherence (NPMI, -1 to 1) is how much more often its words occur in the same documents than by chance."]
    : [];
  if (found.groups.year) notes.push("The line is the share by year, scaled to its maximum.");
  if (found.groups.label) notes.push("The labels below it have the largest shares.");
  find("topics-about").textContent = notes.join(" ");
  const maxShare = Math.max(...found.topics.map(({ share }) => share));
  const cards = found.topics.map((topic) => ({ topic, card: card(topic, found.groups, maxShare, run.capabilities.includes("guidance")) }));
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

/** Sort the cards and show those that match the search; without a search, the first ones until "Show all" is pressed. */
function arrange(cards, order, query) {
  cards.sort((a, b) => order(a.topic, b.topic));
  find("cards").append(...cards.map(({ card }) => card));
  const matches = ({ words, topic }) => words.some(({ word }) => word.includes(query)) || String(topic) === query;
  const matching = cards.filter(({ topic }) => matches(topic));
  const shown = new Set(query || !find("all") ? matching : matching.slice(0, FIRST));
  for (const one of cards) one.card.hidden = !shown.has(one);
  if (find("all")) {
    find("all").hidden = shown.size === matching.length;
    find("all").textContent = `Show all ${cards.length} topics`;
  }
  const result = matching.length ? `${matching.length} of ${cards.length} topics` : "No topic has this word among its top ten.";
  find("found").textContent = query && result;
}

function card(topic, groups, maxShare, guided) {
  const coherence = topic.npmi === null ? "" : ` · coherence ${topic.npmi.toFixed(2)}`;
  const facts = () => el("p", { className: "facts" }, bar(topic.share / maxShare), `share ${percent(topic.share)}${coherence}`);
  const more = el("details", {}, el("summary", {}, "Probabilities, sentences and tables"));
  more.addEventListener("toggle", () => more.append(...details(topic, groups)), { once: true });
  return el(
    "li",
    { className: "card" },
    el("h3", {}, `Topic ${topic.topic}`),
    ...(topic.share === null ? [] : [facts()]),
    el("p", { className: "top" }, topic.words.map(({ word }) => word).join(", ")),
    ...prevalencePlots(topic, groups),
    more,
    ...(guided ? [buttons(topic)] : []),
  );
}

function details(topic, groups) {
  const max = topic.words[0].probability;
  const rows = topic.words.map(({ word, probability }) =>
    el("li", {}, bar(probability / max), `${word} `, el("small", {}, probability.toFixed(3))),
  );
  const parts = [el("h4", {}, "Words with probabilities"), el("ul", { className: "words" }, ...rows)];
  if (topic.sentences.length) {
    const items = topic.sentences.map((sentence) => el("li", {}, sentence));
    parts.push(el("h4", {}, "Typical sentences from the corpus"), el("ul", { className: "sentences" }, ...items));
  }
  return [...parts, ...prevalenceTables(topic, groups)];
}

function buttons({ topic }) {
  const generate = el("button", { type: "button" }, "Generate");
  const add = el("button", { type: "button" }, "Add to mixture");
  for (const button of [generate, add]) button.setAttribute("aria-label", `${button.textContent}: topic ${topic}`);
  generate.addEventListener("click", () => {
    addTopic(topic, 1, true);
    find("generate").scrollIntoView();
    find(`weight-${topic}`).focus({ preventScroll: true });
  });
  add.addEventListener("click", () => {
    addTopic(topic);
    add.textContent = "Added";
  });
  return el("p", { className: "buttons" }, generate, " ", add);
}
