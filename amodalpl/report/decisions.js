
"use strict";
// Decisions: kept in this browser under the hash of the label file, and written to and read from review.json.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = new Map(data.labels.map((label) => [label.id, label]));
const VERDICTS = { accept: "Accept", reject: "Reject", "keep-modal": "Keep modal" };
const PAST = { accept: "accepted", reject: "rejected", "keep-modal": "modal kept" };
const STORE = "amodalpl-review:" + data.sha256;
const decisions = new Map(); // label id -> verdict
const taken = []; // [id, verdict before], the last one last
let elsewhere = data.elsewhere; // decisions on labels that are not on this page

function startDecisions() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(STORE)) || {};
  } catch {
    document.getElementById("storage-notice").hidden = false;
  }
  for (const [id, verdict] of Object.entries({ ...data.decisions, ...kept })) {
    if (byId.has(Number(id)) && verdict in VERDICTS) decisions.set(Number(id), verdict);
  }
}

function keepDecisions() {
  const cleared = Object.keys(data.decisions).filter((id) => !decisions.has(Number(id)));
  const kept = Object.fromEntries([...cleared.map((id) => [id, null]), ...decisions]);
  try {
    localStorage.setItem(STORE, JSON.stringify(kept));
  } catch {
    document.getElementById("storage-notice").hidden = false;
  }
}

function setDecision(id, verdict) {
  if (verdict) decisions.set(id, verdict);
  else decisions.delete(id);
}

// Take a decision; the same one again takes it back. Returns what holds now.
function decide(id, verdict) {
  const before = decisions.get(id);
  taken.push([id, before]);
  setDecision(id, before === verdict ? undefined : verdict);
  keepDecisions();
  return decisions.get(id);
}

// Returns the id of the label whose last decision was undone, if there was one.
function undo() {
  if (!taken.length) return undefined;
  const [id, before] = taken.pop();
  setDecision(id, before);
  keepDecisions();
  return id;
}

function reviewText() {
  const here = data.labels
    .filter((label) => decisions.has(label.id))
    .map((label) => ({ id: label.id, decision: decisions.get(label.id), fingerprint: label.fingerprint }));
  const review = { format: "amodalpl-review", version: 1, labels_sha256: data.sha256, decisions: [...here, ...elsewhere] };
  return JSON.stringify(review, null, 1) + "\n";
}

function saveReview() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([reviewText()], { type: "application/json" }));
  link.download = "review.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Take over the decisions of a review file that hold for these labels. Returns what to tell the reader.
function loadReview(text) {
  let review;
  try {
    review = JSON.parse(text);
  } catch {
    return "Nothing loaded: the file is not JSON, or is cut short.";
  }
  if (!review || review.format !== "amodalpl-review" || review.version !== 1 || !Array.isArray(review.decisions)) {
    return "Nothing loaded: the file is not a review of version 1.";
  }
  const same = review.labels_sha256 === data.sha256;
  const others = new Map(elsewhere.map((entry) => [entry.id, entry]));
  let loaded = 0;
  let passed = 0;
  for (const entry of review.decisions) {
    const label = byId.get(entry && entry.id);
    if (!entry || !Object.hasOwn(VERDICTS, entry.decision)) passed += 1;
    else if (label && label.fingerprint === entry.fingerprint) {
      setDecision(label.id, entry.decision);
      loaded += 1;
    } else if (!label && same && data.labels.length < data.all) {
      others.set(entry.id, { id: entry.id, decision: entry.decision, fingerprint: entry.fingerprint });
      loaded += 1;
    } else passed += 1;
  }
  elsewhere = [...others.values()];
  taken.length = 0;
  keepDecisions();
  return `Decisions loaded: ${loaded}${passed ? `; left out, because they do not fit these labels: ${passed}` : ""}.`;
}
