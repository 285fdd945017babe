/** Sentences for a mixture of topics, generated again whenever a setting changes. */
import { debounce, el, fill, find, percent, request, sentenceList, validate } from "./api.js";

const INITIAL_WEIGHTS = [1, 0.5, 0];
let names; // of topics, by number

const regenerate = debounce(() => fill(find("generated"), generate));

async function generate() {
  validate(find("generate-form"));
  const mixture = readMixture();
  const body = {
    num: Number(find("num").value),
    seed: Number(find("seed").value),
    decode: { strategy: find("strategy").value, max_length: Number(find("max-length").value) },
  };
  if (body.decode.strategy === "sample") body.decode.temperature = Number(find("temperature").value);
  if (Object.keys(mixture).length) Object.assign(body, { mixture, strength: Number(find("strength").value) });
  return [sentenceList((await request("generate", body)).sentences)];
}

/** Positive weights by topic; also shows the normalised weight next to each slider. */
function readMixture() {
  const sliders = [...find("mixture").querySelectorAll("input")];
  const total = sliders.reduce((sum, slider) => sum + Number(slider.value), 0);
  for (const slider of sliders) {
    slider.nextElementSibling.value = percent(total ? slider.value / total : 0);
  }
  find("no-mixture").hidden = total > 0;
  return Object.fromEntries(sliders.filter(({ value }) => value > 0).map((s) => [s.dataset.topic, Number(s.value)]));
}

/** Add a topic to the mixture, or change its weight; `alone` removes all other topics. */
export function addTopic(topic, weight = 1, alone = false) {
  const list = find("mixture");
  if (alone) list.replaceChildren();
  const slider = list.querySelector(`[data-topic="${topic}"]`);
  if (slider) slider.value = weight;
  else list.append(row(topic, weight));
  regenerate();
}

function row(topic, weight) {
  const slider = el("input", { type: "range", min: 0, max: 1, step: 0.05, value: weight, id: `weight-${topic}` });
  slider.dataset.topic = topic;
  const remove = el("button", { type: "button", className: "remove", title: "Remove" }, "×");
  remove.setAttribute("aria-label", `Remove topic ${names[topic]}`);
  remove.addEventListener("click", () => {
    const next = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    (next?.querySelector("input") ?? find("add")).focus();
    regenerate();
  });
  const output = el("output", {});
  output.htmlFor.add(slider.id);
  const pair = el("span", { className: "pair" }, slider, output, remove);
  const item = el("li", {}, el("label", { htmlFor: slider.id }, names[topic]), pair);
  return item;
}

export function startGeneration(run, { topics }) {
  names = Object.fromEntries(topics.map(({ topic, name }) => [topic, name]));
  const { strategy, temperature, max_length } = run.decode; // the defaults of the command line
  find("strategy").value = strategy;
  find("temperature").value = temperature;
  find("temperature").nextElementSibling.value = temperature;
  find("max-length").value = max_length;
  const form = find("generate-form");
  form.noValidate = true;
  form.addEventListener("input", (event) => {
    const output = event.target.nextElementSibling;
    if (output?.htmlFor?.value === event.target.id) output.value = event.target.value;
    if (event.target.id !== "add") regenerate();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    find("seed").value = Number(find("seed").value) + 1;
    regenerate();
  });
  if (run.capabilities.includes("guidance")) startMixture(topics);
  regenerate();
}

function startMixture(topics) {
  find("mixing").hidden = false;
  find("generate-about").textContent = "Move a slider to generate sentences from that mixture of topics.";
  const select = find("add");
  select.append(el("option", { value: "" }, "choose …"));
  select.append(...topics.map(({ topic, name }) => el("option", { value: topic }, name)));
  select.addEventListener("change", () => {
    if (select.value) addTopic(select.value);
    select.value = "";
  });
  initialTopics(topics).forEach(({ topic }, i) => addTopic(topic, INITIAL_WEIGHTS[i]));
}

/** The most coherent topics of the larger half; without coherence, the largest topics. */
function initialTopics(topics) {
  const half = Math.ceil(topics.length / 2);
  const large = topics.slice(0, half).sort((a, b) => b.npmi - a.npmi);
  return [...large, ...topics.slice(half)].slice(0, INITIAL_WEIGHTS.length);
}
