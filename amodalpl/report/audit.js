
"use strict";
// One label at a time; judgements are kept in this browser under the sample they belong to, and saved as audit.json.

const data = JSON.parse(document.getElementById("data").textContent);
const STORE = "amodalpl-audit:" + data.labels_sha256 + ":" + data.seed + ":" + data.sample;
const judged = new Map(); // id -> verdict
let at = 0;
let isSaved = true; // false while there are judgements made here that no file has

// What a browser keeps of a page from disk may be gone: it asks before work is left that is in no file.
addEventListener("beforeunload", (event) => {
  if (!isSaved) event.preventDefault();
});

const element = (id) => document.getElementById(id);

function start() {
  try {
    for (const [id, verdict] of Object.entries(JSON.parse(localStorage.getItem(STORE)) || {})) {
      if (data.labels.some((label) => label.id === id) && Object.hasOwn(data.verdicts, verdict)) judged.set(id, verdict);
    }
  } catch {
    element("storage-notice").hidden = false;
  }
  Object.entries(data.verdicts).forEach(([verdict, words], number) => {
    const button = document.createElement("button");
    button.dataset.verdict = verdict;
    button.append(words + " ", Object.assign(document.createElement("kbd"), { textContent: String(number + 1) }));
    button.addEventListener("click", () => judge(verdict));
    element("verdicts").append(button);
  });
  element("back").addEventListener("click", () => go(at - 1));
  element("next").addEventListener("click", () => go(at + 1));
  element("save").addEventListener("click", save);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const verdict = Object.keys(data.verdicts)[Number(event.key) - 1];
    if (verdict) judge(verdict);
    else if (event.key === "ArrowLeft") go(at - 1);
    else if (event.key === "ArrowRight") go(at + 1);
  });
  const open = data.labels.findIndex((label) => !judged.has(label.id));
  go(open < 0 ? data.labels.length - 1 : open);
}

function judge(verdict) {
  judged.set(data.labels[at].id, verdict);
  isSaved = false;
  try {
    localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(judged)));
  } catch {
    element("storage-notice").hidden = false;
  }
  go(at + 1);
}

function go(to) {
  at = Math.max(0, Math.min(to, data.labels.length - 1));
  const label = data.labels[at];
  element("title").textContent = `${at + 1} of ${data.labels.length}: ${label.name} #${label.id}`;
  element("picture").src = "data:image/jpeg;base64," + label.picture;
  element("picture").alt = `${label.name}, its visible part and its whole`;
  for (const button of element("verdicts").children) {
    button.setAttribute("aria-pressed", String(judged.get(label.id) === button.dataset.verdict));
  }
  element("back").disabled = at === 0;
  element("next").disabled = at === data.labels.length - 1;
  element("done").value = judged.size;
  element("count").textContent = `${judged.size} judged`;
}

function save() {
  const judgements = data.labels.filter((label) => judged.has(label.id)).map((label) => ({ id: label.id, verdict: judged.get(label.id) }));
  const { format, version, labels_sha256, seed, sample } = data;
  const text = JSON.stringify({ format, version, labels_sha256, seed, sample, judgements }, null, 1) + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "audit.json";
  link.click();
  isSaved = true;
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

if (data.labels.length) start();
