
// One label from near: its picture, what is known of it, and the order on its photo.

let shown; // the label in the dialog
let isWhole = false;

function openDetail(label) {
  showDetail(label);
  if (!control("detail").open) control("detail").showModal();
  control("detail-title").focus();
}

function showDetail(label) {
  shown = label;
  const photo = data.photos[label.photo];
  control("detail-title").textContent = `${className(label)} #${label.id}`;
  control("detail-picture").replaceChildren(labelPicture(label, isWhole));
  control("detail-whole").setAttribute("aria-pressed", isWhole);
  const behind = label.behind.map((id) => {
    const other = byId.get(id);
    if (!other) return node("span", {}, `#${id} `);
    const button = node("button", { type: "button", class: "link" }, `${className(other)} #${id}`);
    button.addEventListener("click", () => showOther(other));
    return node("span", {}, button, " ");
  });
  const facts = [
    ["doubt", [label.doubt.toFixed(3)]],
    ["growth", [grown(label)]],
    ["hidden share", [`${(100 * label.rate).toFixed(0)} %`]],
    ["plausibility", [label.ordinary === null ? "not known" : label.ordinary.toFixed(2)]],
    ["behind", behind.length ? behind : ["nothing"]],
    ["photo", [photo.name]],
    ["flags", label.flags.length ? flagNodes(label) : ["none"]],
  ];
  control("detail-facts").replaceChildren(...facts.flatMap(([name, value]) => [node("dt", {}, name), node("dd", {}, ...value)]));
  control("detail-verdicts").replaceChildren(...verdictButtons(label, 0));
  control("detail-order").replaceChildren(orderGraph(label, showOther));
  const place = listed.indexOf(label);
  control("detail-previous").disabled = place <= 0;
  control("detail-next").disabled = place < 0 || place >= listed.length - 1;
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
