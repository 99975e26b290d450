
// One label from near: its picture, what is known of it, and the order on its photo.

let shown; // the label in the dialog
let isWhole = false;

function openDetail(label) {
  if (!control("detail").open) control("detail").showModal();
  showDetail(label);
  control("detail-title").focus();
}

function showDetail(label) {
  shown = label;
  const photo = data.photos[label.photo];
  control("detail-title").textContent = `${className(label)} #${label.id}`;
  const colours = objectColours(label);
  const picture = labelPicture(label, isWhole);
  picture.append(objectLayer(label, colours));
  zoomable(picture, [0, 0, photo.size[1], photo.size[0]]);
  control("detail-picture").replaceChildren(picture);
  control("detail-whole").setAttribute("aria-pressed", isWhole);
  const behind = label.behind.map((id) => {
    const other = byId.get(id);
    if (!other) return node("span", {}, `#${id} `);
    const button = node("button", { type: "button", class: "link" }, `${className(other)} #${id}`);
    button.addEventListener("click", () => showOther(other));
    return node("span", {}, button, " ");
  });
  const facts = [
    ["uncertainty", [label.uncertainty.toFixed(3)]],
    ["growth", [grown(label)]],
    ["hidden share", [hiddenShare(label)]],
    ["plausibility", [label.ordinary === null ? "not known" : label.ordinary.toFixed(2)]],
    ["behind", behind.length ? behind : ["nothing"]],
    ["photo", [photo.name]],
    ["flags", label.flags.length ? flagNodes(label) : ["none"]],
  ];
  control("detail-facts").replaceChildren(...facts.flatMap(([name, value]) => [node("dt", {}, name), node("dd", {}, ...value)]));
  control("detail-verdicts").replaceChildren(...verdictButtons(label, 0));
  control("detail-order").replaceChildren(orderGraph(label, colours));
  const place = listed.indexOf(label);
  control("detail-previous").disabled = place <= 0;
  control("detail-next").disabled = place < 0 || place >= listed.length - 1;
}

function hiddenShare(label) {
  const percent = (share) => `${(100 * share).toFixed(0)} %`;
  if (label.owned < 0.005) return percent(label.rate);
  const owned = label.growth > 1 ? percent(label.owned) : "all of it";
  return `${percent(label.rate)} of the whole; ${owned} was drawn, and belongs to other masks`;
}

// An object and its box in the order graph light up together.
function light(event) {
  const target = event.target.closest("[data-object]");
  const id = target && target.dataset.object;
  for (const element of control("detail").querySelectorAll("[data-object]")) {
    element.classList.toggle("lit", element.dataset.object === id);
  }
}

function chooseObject(event) {
  const target = event.target.closest("[data-object]");
  const other = target && byId.get(target.dataset.object);
  if (!other || other === shown || (event.type === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
  event.preventDefault();
  event.stopPropagation();
  showOther(other);
}

function zoomPicture(factor) {
  const picture = control("detail-picture").firstChild;
  if (factor) picture.zoomBy(factor);
  else picture.reset();
}

// A label that another one led to; it becomes the current one where it is listed.
function showOther(label) {
  const place = listed.indexOf(label);
  if (place >= 0) goTo(place, false);
  showDetail(label);
  control("detail-title").focus();
}

function stepDetail(step) {
  goTo((listed.indexOf(shown) >= 0 ? listed.indexOf(shown) : current) + step, false);
  showDetail(listed[current]);
}

function showDetailVerdict() {
  for (const button of control("detail-verdicts").children) {
    button.setAttribute("aria-pressed", button.dataset.verdict === decisions.get(shown.id));
  }
}

function toggleWhole() {
  isWhole = !isWhole;
  showDetail(shown);
}
