/** Topics by share: words, coherence, typical sentences; each can be written about. */
import { el, find, percent } from "./api.js";
import { mix } from "./writing.js";

export function showTopics(run, topics) {
  find("topics-about").textContent = run.corpus
    ? "Share: of the training documents. Coherence: how much oftener its words meet in documents than by chance (NPMI, from -1 to 1)."
    : "Share: of a document without words.";
  const most = Math.max(...topics.map(({ share }) => share));
  const cards = topics.map((topic) => card(topic, most, run.can.includes("mixture")));
  find("cards").append(...cards);
  find("find").addEventListener("input", () => choose(topics, cards, find("find").value.trim().toLowerCase()));
}

function choose(topics, cards, wanted) {
  const fits = ({ words, topic }) => words.some(({ word }) => word.includes(wanted)) || String(topic) === wanted;
  topics.forEach((topic, place) => (cards[place].hidden = !fits(topic)));
  const count = topics.filter(fits).length;
  find("found").textContent = wanted && (count ? `${count} of ${topics.length} topics` : "No topic has such a word among its first ten.");
}

function card(topic, most, mixes) {
  const title = el("h3", {}, `Topic ${topic.topic}`);
  const meter = el("meter", { min: 0, max: most, value: topic.share });
  meter.setAttribute("aria-label", "share");
  const coherence = topic.npmi === null ? "" : ` · coherence ${topic.npmi.toFixed(2)}`;
  const facts = el("p", { className: "facts" }, meter, ` ${percent(topic.share)}${coherence}`);
  const words = el("p", { className: "top" }, topic.words.map(({ word }) => word).join(", "));
  return el("li", { className: "card" }, title, facts, words, details(topic), ...(mixes ? [buttons(topic)] : []));
}

function details({ words, sentences }) {
  const most = words[0].probability;
  const rows = words.map(({ word, probability }) => {
    const meter = el("meter", { min: 0, max: most, value: probability });
    meter.setAttribute("aria-label", word);
    return el("li", {}, meter, ` ${word} `, el("small", {}, probability.toFixed(3)));
  });
  const parts = [el("ul", { className: "words" }, ...rows)];
  if (sentences.length) {
    const items = sentences.map((sentence) => el("li", {}, sentence));
    parts.push(el("h4", {}, "Typical sentences of the corpus"), el("ul", { className: "sentences" }, ...items));
  }
  return el("details", {}, el("summary", {}, "Words and sentences"), ...parts);
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
