/** The page: asks what the run can do, and shows the sections that it can serve. */
import { ask, el, fill, find } from "./api.js";
import { startDocument, startWalk } from "./documents.js";
import { drawPictures } from "./maps.js";
import { showTopics } from "./topics.js";
import { startWriting } from "./writing.js";

const SECTIONS = {
  write: { ability: "generate", title: "Write", start: startWriting },
  topics: { ability: "topics", title: "Topics", start: showTopics },
  document: { ability: ["document", "summarize"], title: "A document", start: startDocument },
  between: { ability: "between", title: "Between sentences", start: startWalk },
  map: { ability: "topics", title: "Maps", start: drawPictures },
};

function tellAbout(run) {
  document.title = `${run.run} · tgvae`;
  find("title").textContent = run.run;
  find("version").textContent = run.version;
  const { corpus } = run;
  const of = corpus
    ? `, trained on ${corpus.documents.toLocaleString("en")} documents of ${corpus.name}; licence: ${corpus.licence}`
    : "";
  find("about").textContent = `A ${run.model}${of}.`;
  find("missing").hidden = !run.missing;
  find("missing").textContent =
    `Without its corpus there are no shares, coherence or sentences of topics, and no map of documents. ${run.missing}`;
}

async function start() {
  const run = await ask("run");
  tellAbout(run);
  const { topics } = run.can.includes("topics") ? await ask("topics") : { topics: [] };
  for (const [id, { ability, title, start }] of Object.entries(SECTIONS)) {
    if (![ability].flat().some((name) => run.can.includes(name))) continue;
    find(id).hidden = false;
    find("contents").append(el("li", {}, el("a", { href: `#${id}` }, title)));
    start(run, topics);
  }
}

fill(find("missing"), async () => {
  await start();
  return [...find("missing").childNodes];
}).then(() => {
  if (find("missing").querySelector(".error")) find("missing").hidden = false;
});
