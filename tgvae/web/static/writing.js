/** Sentences on a mixture of topics, written anew whenever something is moved. */
import { ask, checked, el, fill, find, inTurn, listed, percent } from "./api.js";

const START = [1, 0.5, 0]; // weights of the topics that are there at first
let named; // a topic's name by number

export const rewrite = inTurn(() => fill(find("written"), write));

async function write() {
  checked(find("write-form"));
  const mixture = mixed();
  const question = {
    num: Number(find("num").value),
    seed: Number(find("seed").value),
    decode: {
      strategy: find("strategy").value,
      temperature: Number(find("temperature").value),
      max_length: Number(find("longest").value),
    },
  };
  if (Object.keys(mixture).length) Object.assign(question, { mixture, strength: Number(find("strength").value) });
  return [listed((await ask("generate", question)).sentences)];
}

/** Weights above zero by topic; shows each one's part of the whole. */
function mixed() {
  const sliders = [...find("mixture").querySelectorAll("input")];
  const whole = sliders.reduce((sum, slider) => sum + Number(slider.value), 0);
  for (const slider of sliders) {
    slider.nextElementSibling.value = percent(whole ? slider.value / whole : 0);
  }
  find("no-mixture").hidden = whole > 0;
  return Object.fromEntries(sliders.filter(({ value }) => value > 0).map((s) => [s.dataset.topic, Number(s.value)]));
}

/** Adds a topic to the mixture, or gives one that is there this weight; `alone` takes out the others. */
export function mix(topic, weight = 1, alone = false) {
  const list = find("mixture");
  if (alone) list.replaceChildren();
  const there = list.querySelector(`[data-topic="${topic}"]`);
  if (there) there.value = weight;
  else list.append(row(topic, weight));
  rewrite();
}

function row(topic, weight) {
  const slider = el("input", { type: "range", min: 0, max: 1, step: 0.05, value: weight, id: `weight-${topic}` });
  slider.dataset.topic = topic;
  const away = el("button", { type: "button", className: "away", title: "Take out" }, "×");
  away.setAttribute("aria-label", `Take out topic ${named[topic]}`);
  away.addEventListener("click", () => {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    (next?.querySelector("input") ?? find("add")).focus();
    rewrite();
  });
  const output = el("output", {});
  output.htmlFor.add(slider.id);
  const item = el("li", {}, el("label", { htmlFor: slider.id }, named[topic]), el("span", { className: "pair" }, slider, output, away));
  return item;
}

export function startWriting(run, { topics }) {
  named = Object.fromEntries(topics.map(({ topic, name }) => [topic, name]));
  const form = find("write-form");
  form.noValidate = true;
  form.addEventListener("input", (event) => {
    const output = event.target.nextElementSibling;
    if (output?.htmlFor?.value === event.target.id) output.value = event.target.value;
    if (event.target.id !== "add") rewrite();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    find("seed").value = Number(find("seed").value) + 1;
    rewrite();
  });
  if (run.can.includes("mixture")) startMixing(topics);
  rewrite();
}

function startMixing(topics) {
  find("mixing").hidden = false;
  find("write-about").textContent = "Move a slider, and the model writes anew from that mixture of its topics.";
  const choose = find("add");
  choose.append(el("option", { value: "" }, "choose …"));
  choose.append(...topics.map(({ topic, name }) => el("option", { value: topic }, name)));
  choose.addEventListener("change", () => {
    if (choose.value) mix(choose.value);
    choose.value = "";
  });
  atFirst(topics).forEach(({ topic }, place) => mix(topic, START[place]));
}

/** The most coherent of the larger half of the topics, or the largest where no coherence is known. */
function atFirst(topics) {
  const half = Math.ceil(topics.length / 2);
  const large = topics.slice(0, half).sort((a, b) => b.npmi - a.npmi);
  return [...large, ...topics.slice(half)].slice(0, START.length);
}
