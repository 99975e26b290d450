
// Clicks and keys.

const VERDICT_OF_KEY = { a: "accept", r: "reject", m: "keep-modal" };
const LAYERS = [...document.querySelectorAll("[data-layer]")];

function undoHere() {
  const id = undo();
  if (id === undefined) return;
  const place = listed.findIndex((label) => label.id === id);
  const inDetail = control("detail").open;
  if (place >= 0) goTo(place, !inDetail);
  if (inDetail) showDetail(byId.get(id));
  refresh(id);
}

function decideByKey(verdict) {
  if (!listed.length) return;
  const inDetail = control("detail").open;
  const id = inDetail ? shown.id : listed[current].id;
  decideHere(id, verdict);
  if (inDetail || !decisions.has(id)) return;
  goTo(current + 1);
}

function switchLayer(box) {
  document.body.classList.toggle("no-" + box.dataset.layer, !box.checked);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || control("keys").open) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const inDetail = control("detail").open;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const inGallery = control("gallery").contains(document.activeElement);
  const move = inDetail ? stepDetail : (step) => goTo(inGallery ? current + step : current);
  const actions = {
    j: () => move(1),
    k: () => move(-1),
    ArrowRight: () => move(1),
    ArrowLeft: () => move(-1),
    u: undoHere,
    "?": () => control("keys").showModal(),
  };
  if (inDetail) {
    actions.w = toggleWhole;
    actions["+"] = () => zoomPicture(0.8);
    actions["-"] = () => zoomPicture(1.25);
    actions["0"] = () => zoomPicture();
  } else {
    actions.n = () => turnPage(1);
    actions.p = () => turnPage(-1);
    actions["/"] = () => control("search").focus();
    if (inGallery) {
      actions.ArrowDown = () => goTo(current + columns());
      actions.ArrowUp = () => goTo(current - columns());
    }
    if (event.target.matches(".card")) actions.Enter = () => openDetail(listed[current]);
  }
  if (key in VERDICT_OF_KEY) decideByKey(VERDICT_OF_KEY[key]);
  else if (/^[1-6]$/.test(key)) LAYERS[key - 1].click();
  else if (Object.hasOwn(actions, key)) actions[key]();
  else return;
  event.preventDefault();
}

function onGalleryClick(event) {
  const element = event.target.closest(".card");
  if (!element) return;
  const id = element.dataset.id;
  goTo(listed.findIndex((label) => label.id === id), false);
  const button = event.target.closest("button");
  if (button && button.dataset.verdict) decideHere(id, button.dataset.verdict);
  else if (button) openDetail(byId.get(id));
}

// Another tab of this page has decided: show it, and leave the reader where they are.
function showKept() {
  takeKept();
  for (const element of control("gallery").children) showVerdict(element, byId.get(element.dataset.id));
  if (control("detail").open) showDetailVerdict();
  showProgress();
}

function start() {
  startDecisions();
  data.classes
    .map((name, index) => [name, index])
    .sort(([a], [b]) => a.localeCompare(b))
    .forEach(([name, index]) => control("class").append(node("option", { value: index }, name)));
  const flags = new Set(data.labels.flatMap((label) => label.flags));
  [...flags].sort().forEach((flag) => control("flag").append(node("option", { value: flag }, flagName(flag))));
  for (const id of ["sort", "kind", "class", "flag", "decision"]) control(id).addEventListener("change", list);
  control("search").addEventListener("input", list);
  control("gallery").addEventListener("click", onGalleryClick);
  control("detail-verdicts").addEventListener("click", (event) => {
    if (event.target.dataset.verdict) decideHere(shown.id, event.target.dataset.verdict);
  });
  control("previous").addEventListener("click", () => turnPage(-1));
  control("next").addEventListener("click", () => turnPage(1));
  control("undo").addEventListener("click", undoHere);
  control("export").addEventListener("click", saveReview);
  control("import").addEventListener("click", () => control("file").click());
  control("file").addEventListener("change", async () => {
    const [file] = control("file").files;
    if (!file) return;
    const said = loadReview(await file.text());
    control("file").value = "";
    list();
    control("message").textContent = said;
  });
  control("help").addEventListener("click", () => control("keys").showModal());
  control("keys-close").addEventListener("click", () => control("keys").close());
  control("detail-close").addEventListener("click", () => control("detail").close());
  control("detail-previous").addEventListener("click", () => stepDetail(-1));
  control("detail-next").addEventListener("click", () => stepDetail(1));
  control("detail-whole").addEventListener("click", toggleWhole);
  for (const name of ["pointerover", "focusin"]) control("detail").addEventListener(name, light);
  for (const name of ["click", "keydown"]) control("detail").addEventListener(name, chooseObject);
  const wide = matchMedia("(min-width: 48rem)");
  const unfold = () => (control("tools").open = wide.matches);
  wide.addEventListener("change", unfold);
  unfold();
  control("detail").addEventListener("close", () => goTo(current));
  LAYERS.forEach((box) => {
    switchLayer(box); // browsers restore boxes of a page that is loaded again
    box.addEventListener("change", () => switchLayer(box));
  });
  document.addEventListener("keydown", onKey);
  window.addEventListener("storage", (event) => {
    if (event.key === STORE) showKept();
  });
  list();
}

start();
