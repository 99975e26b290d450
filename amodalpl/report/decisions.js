
"use strict";
// Decisions: kept in this browser under the hash of the label file, and written to and read from review.json.
// Ids are strings here: numbers of JavaScript are exact up to 2^53 only.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = new Map(data.labels.map((label) => [label.id, label]));
const VERDICTS = { accept: "Accept", reject: "Reject", "keep-modal": "Keep modal" };
const PAST = { accept: "accepted", reject: "rejected", "keep-modal": "modal kept" };
const STORE = "amodalpl-review:" + data.sha256;
const decisions = new Map(); // label id -> verdict
const elsewhere = new Map(data.elsewhere.map((entry) => [entry.id, entry])); // decisions on labels not on this page
let taken = []; // [id, verdict before], the last one last
let isKept = true; // false once the browser kept nothing: what it has is then older than what is here
let isSaved = true; // false while there are decisions taken here that no file has

// What a browser keeps of a page from disk may be gone: it asks before work is left that is in no file.
addEventListener("beforeunload", (event) => {
  if (!isSaved) event.preventDefault();
});

function startDecisions() {
  for (const [id, verdict] of Object.entries(data.decisions)) setDecision(id, verdict);
  takeKept();
}

// What this browser keeps of these labels: `here`, a verdict by label id (null: withdrawn), and `elsewhere`.
function readKept() {
  const { here, elsewhere, ...others } = JSON.parse(localStorage.getItem(STORE)) || {};
  return { here: here || others, elsewhere: elsewhere || [] }; // pages of older versions kept verdicts alone
}

function stopKeeping() {
  isKept = false;
  document.getElementById("storage-notice").hidden = false;
}

// Take over what other tabs of this page decided.
function takeKept() {
  if (!isKept) return;
  try {
    const kept = readKept();
    const changed = new Map(Object.entries(kept.here).filter(([id, verdict]) => (decisions.get(id) || null) !== verdict));
    for (const [id, verdict] of changed) setDecision(id, verdict);
    for (const entry of kept.elsewhere) if (!byId.has(entry.id)) elsewhere.set(entry.id, entry);
    taken = taken.filter(([id]) => !changed.has(id)); // theirs is not ours to undo
  } catch {
    stopKeeping();
  }
}

// Keep the decisions on some labels, and leave those on others as another tab may have put them.
function keepDecisions(ids) {
  try {
    const kept = readKept();
    const others = new Map(kept.elsewhere.map((entry) => [entry.id, entry]));
    for (const id of ids) {
      if (byId.has(id)) kept.here[id] = decisions.get(id) || null;
      else others.set(id, elsewhere.get(id));
    }
    kept.elsewhere = [...others.values()];
    localStorage.setItem(STORE, JSON.stringify(kept));
  } catch {
    stopKeeping();
  }
}

function setDecision(id, verdict) {
  if (!byId.has(id)) return;
  if (Object.hasOwn(VERDICTS, verdict)) decisions.set(id, verdict);
  else decisions.delete(id);
}

// Decide on a label; the same decision a second time withdraws it. Returns the decision that holds now.
function decide(id, verdict) {
  const before = decisions.get(id);
  taken.push([id, before]);
  isSaved = false;
  setDecision(id, before === verdict ? undefined : verdict);
  keepDecisions([id]);
  return decisions.get(id);
}

// Returns the id of the label whose last decision was undone, if there was one.
function undo() {
  if (!taken.length) return undefined;
  const [id, before] = taken.pop();
  isSaved = false;
  setDecision(id, before);
  keepDecisions([id]);
  return id;
}

function reviewText() {
  const here = data.labels
    .filter((label) => decisions.has(label.id))
    .map((label) => ({ id: label.id, decision: decisions.get(label.id), fingerprint: label.fingerprint }));
  const all = [...here, ...elsewhere.values()];
  const review = { format: "amodalpl-review", version: 1, labels_sha256: data.sha256, decisions: all };
  return JSON.stringify(review, null, 1).replace(/"id": "(-?\d+)"/g, '"id": $1') + "\n";
}

function isId(id) {
  return typeof id === "string" && /^-?(0|[1-9]\d*)$/.test(id);
}

// Parse a review with its ids as strings. No text inside JSON looks like what is replaced: its quotes are escaped.
function parseReview(text) {
  return JSON.parse(text.replace(/"id"\s*:\s*(-?(?:0|[1-9]\d*))(?=\s*[,}])/g, '"id":"$1"'));
}

function saveReview() {
  takeKept();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([reviewText()], { type: "application/json" }));
  link.download = "review.json";
  link.click();
  isSaved = true;
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Take over the decisions of a review file that hold for these labels. Returns what to tell the reader.
function loadReview(text) {
  let review;
  try {
    review = parseReview(text);
  } catch {
    return "Nothing loaded: the file is not JSON, or is cut short.";
  }
  if (!review || review.format !== "amodalpl-review" || review.version !== 1 || !Array.isArray(review.decisions)) {
    return "Nothing loaded: the file is not a review of version 1.";
  }
  const same = review.labels_sha256 === data.sha256;
  const changed = [];
  let loaded = 0;
  let passed = 0;
  for (const entry of review.decisions) {
    const label = byId.get(entry && entry.id);
    if (!entry || !isId(entry.id) || !Object.hasOwn(VERDICTS, entry.decision)) passed += 1;
    else if (label && label.fingerprint === entry.fingerprint) {
      setDecision(label.id, entry.decision);
      changed.push(label.id);
      loaded += 1;
    } else if (!label && same && data.labels.length < data.all) {
      elsewhere.set(entry.id, { id: entry.id, decision: entry.decision, fingerprint: entry.fingerprint });
      changed.push(entry.id);
      loaded += 1;
    } else passed += 1;
  }
  taken = [];
  keepDecisions(changed);
  return `Decisions loaded: ${loaded}${passed ? `; left out, because they do not fit these labels: ${passed}` : ""}.`;
}
