/** A document read: topics, words by topic, sentences in its vein, its summary; and the walk between two sentences. */
import { ask, el, fill, find, listed, percent } from "./api.js";

const LOOKS = 7; // topics with a look of their own; other topics share the last one

export function startDocument(run, topics) {
  const named = Object.fromEntries(topics.map(({ topic, name }) => [topic, name]));
  find("text").maxLength = run.limits.characters;
  if (run.can.includes("summarize") && topics.length) {
    find("towards-field").hidden = false;
    const free = el("option", { value: "" }, "no topic in particular");
    find("towards").append(free, ...topics.map(({ topic, name }) => el("option", { value: topic }, name)));
  }
  const read = () => fill(find("read"), () => parts(run, named, find("text").value));
  submitted("document-form", read);
  find("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) read();
  });
}

/** All that the run can say of a text; one part that fails says so in its place. */
async function parts(run, named, text) {
  if (!text.trim()) throw new Error("There is no text; paste some above.");
  const kinds = {
    summarize: ["Summary", () => summary(text)],
    document: ["Topics", () => reading(named, text)],
    mixture: ["Sentences in its vein", () => vein(text)],
  };
  const shown = Object.entries(kinds).filter(([ability]) => run.can.includes(ability));
  const made = shown.map(async ([, [title, work]]) => {
    const place = el("div");
    await fill(place, work);
    return [el("h3", {}, title), place];
  });
  return (await Promise.all(made)).flat();
}

async function summary(text) {
  const question = { text, num: 1 };
  if (find("towards").value) question.topic = Number(find("towards").value);
  const { summaries, cut } = await ask("summarize", question);
  const note = cut ? [el("p", { className: "note" }, "The text is longer than the model reads: its end was left out.")] : [];
  return [listed(summaries), ...note];
}

async function vein(text) {
  return [listed((await ask("generate", { like: text })).sentences)];
}

async function reading(named, text) {
  const { topics, paragraphs } = await ask("document", { text });
  const look = Object.fromEntries(topics.slice(0, LOOKS).map(({ topic }, place) => [topic, place]));
  const rows = topics.slice(0, LOOKS).map(({ topic, share }) => {
    const meter = el("meter", { min: 0, max: 1, value: share });
    meter.setAttribute("aria-label", `share of topic ${topic}`);
    return el("li", {}, meter, ` ${percent(share)} `, el("mark", { className: `look${look[topic]}` }, named[topic]));
  });
  const shown = paragraphs.map((pieces) => el("p", {}, ...pieces.map((piece) => marked(piece, named, look))));
  const told = "Every word that topics speak of is marked by the topic it most likely comes from; the number is the topic's.";
  return [el("ul", { className: "words" }, ...rows), el("p", { className: "note" }, told), el("div", { className: "text" }, ...shown)];
}

function marked({ text, topic, share }, named, look) {
  if (topic === null) return text;
  const title = `topic ${named[topic]}: ${percent(share)}`;
  return el("mark", { className: `look${look[topic] ?? LOOKS}`, title }, text, el("sub", {}, String(topic)));
}

export function startWalk(run) {
  for (const id of ["start", "end"]) find(id).maxLength = run.limits.line;
  submitted("between-form", () => fill(find("walked"), walk));
}

async function walk() {
  const [start, end] = [find("start").value, find("end").value];
  const { sentences } = await ask("between", { start, end, num: Number(find("steps").value) });
  return [listed(sentences, "ol")];
}

function submitted(id, work) {
  find(id).addEventListener("submit", (event) => {
    event.preventDefault();
    work();
  });
}
