/** Analysis of a document (topics, words by topic, similar sentences, summary) and interpolation of two sentences. */
import { bar, el, fill, find, percent, request, sentenceList, validate } from "./api.js";

const COLORS = 7; // topics with a style of their own; all other topics share the last style
const PARTS = {
  summaries: { title: "Summary", offers: ["a summary"], make: summarize },
  topics: { title: "Topics", offers: ["its topics", "its words marked by topic"], make: inferTopics },
  guidance: { title: "Sentences on the same topics", offers: ["sentences on the same topics"], make: generateSimilar },
};

export function startDocument(run, { topics }) {
  const names = Object.fromEntries(topics.map(({ topic, name }) => [topic, name]));
  const parts = Object.entries(PARTS).filter(([capability]) => run.capabilities.includes(capability)).map(([, part]) => part);
  const offers = new Intl.ListFormat("en", { type: "conjunction" }).format(parts.flatMap((part) => part.offers));
  find("document-about").textContent = `Paste a text to get ${offers}.`;
  if (run.capabilities.includes("summaries") && topics.length) {
    find("towards-field").hidden = false;
    const none = el("option", { value: "" }, "none");
    find("towards").append(none, ...topics.map(({ topic, name }) => el("option", { value: topic }, name)));
  }
  const limit = run.limits.document_characters;
  const analyze = () => fill(find("analysis"), () => analysis(parts, names, find("text").value, limit));
  const count = () => {
    const { length } = find("text").value;
    find("length").textContent = `${number(length)} of at most ${number(limit)} characters. Ctrl + Enter also analyzes.`;
  };
  onSubmit("document-form", analyze);
  find("text").addEventListener("input", count);
  find("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) analyze();
  });
  find("example").hidden = !run.examples;
  find("example").addEventListener("click", () => {
    find("text").value = run.examples.document;
    count();
    analyze();
  });
  count();
}

const number = (value) => value.toLocaleString("en");

/** All parts of the analysis; a part that fails shows its own error message. */
async function analysis(parts, names, text, limit) {
  if (!text.trim()) throw new Error("There is no text. Paste one above.");
  if (text.length > limit) throw new Error(`The text has ${number(text.length)} characters; the limit is ${number(limit)}.`);
  const made = parts.map(async ({ title, make }) => {
    const region = el("div");
    await fill(region, () => make(text, names));
    return [el("h3", {}, title), region];
  });
  return (await Promise.all(made)).flat();
}

async function summarize(text) {
  const body = { text, num: 1 };
  if (find("towards").value) body.topic = Number(find("towards").value);
  const { summaries, cut } = await request("summarize", body);
  const note = cut ? [el("p", { className: "note" }, "The text is longer than the model reads; its end was ignored.")] : [];
  return [sentenceList(summaries), ...note];
}

async function generateSimilar(text) {
  return [sentenceList((await request("generate", { like: text })).sentences)];
}

async function inferTopics(text, names) {
  const { topics, paragraphs } = await request("document", { text });
  const colors = Object.fromEntries(topics.slice(0, COLORS).map(({ topic }, i) => [topic, i]));
  const marked = new Set(paragraphs.flat().map(({ topic }) => topic));
  const shown = topics.filter(({ topic }, i) => i < COLORS || marked.has(topic));
  const rows = shown.map(({ topic, share }) =>
    el("li", {}, bar(share), el("span", {}, percent(share)), el("mark", { className: styleOf(topic, colors) }, names[topic])),
  );
  const texts = paragraphs.map((spans) => el("p", {}, ...spans.map((span) => mark(span, names, colors))));
  const note = "Words of the topic vocabulary are marked with the number of the topic that they most likely come from.";
  const words = el("div", {}, el("div", { className: "text" }, ...texts), el("p", { className: "note" }, note));
  return [el("div", { className: "columns analysis" }, el("ul", { className: "words" }, ...rows), words)];
}

const styleOf = (topic, colors) => `look${colors[topic] ?? COLORS}`;

function mark({ text, topic, probability }, names, colors) {
  if (topic === null) return text;
  const title = `topic ${names[topic]}: ${percent(probability)}`;
  return el("mark", { className: styleOf(topic, colors), title }, text, el("sub", {}, String(topic)));
}

export function startInterpolation({ examples }) {
  for (const id of ["start", "end"]) find(id).value = examples?.[id] ?? "";
  onSubmit("interpolate-form", () => fill(find("interpolated"), interpolate));
}

async function interpolate() {
  validate(find("interpolate-form"));
  const [start, end] = [find("start").value, find("end").value];
  if (!start.trim() || !end.trim()) throw new Error("Enter two sentences.");
  const { sentences } = await request("interpolate", { start, end, num: Number(find("steps").value) });
  const note = "The first and last sentences are reconstructions of yours: the latent keeps topic and length rather than words.";
  return [sentenceList(sentences, "ol", "steps"), el("p", { className: "note" }, note)];
}

function onSubmit(id, work) {
  find(id).addEventListener("submit", (event) => {
    event.preventDefault();
    work();
  });
}
