
// The gallery: which labels are listed, and the page of cards in view.

const PER_PAGE = 48;
const number = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const control = (id) => document.getElementById(id);
let listed = []; // labels that pass the filters, sorted
let current = 0; // place in `listed` of the card that keys act on

function className(label) {
  return data.classes[label.class];
}

function compareIds(a, b) {
  return Number(BigInt(a) - BigInt(b));
}

function grown(label) {
  const more = 100 * (label.growth - 1);
  return label.growth > 1 ? `+${more < 10 ? more.toFixed(1) : more.toFixed(0)} %` : "as drawn";
}

const COMPARE = {
  uncertainty: (a, b) => b.uncertainty - a.uncertainty || b.growth - a.growth,
  growth: (a, b) => b.growth - a.growth || b.uncertainty - a.uncertainty,
  class: (a, b) => className(a).localeCompare(className(b)) || b.uncertainty - a.uncertainty,
  ordinary: (a, b) => (a.ordinary ?? 2) - (b.ordinary ?? 2) || b.uncertainty - a.uncertainty,
  id: () => 0,
};

function passes(label) {
  const [kind, flag, verdict] = [control("kind").value, control("flag").value, control("decision").value];
  const chosen = control("class").value;
  if (kind && (kind === "grown") !== label.growth > 1) return false;
  if (chosen && label.class !== Number(chosen)) return false;
  if (flag && !label.flags.includes(flag)) return false;
  if (verdict && (decisions.get(label.id) || "open") !== verdict) return false;
  const text = [className(label), data.photos[label.photo].name, label.id, ...label.flags, ...label.flags.map(flagName)].join(" ").toLowerCase();
  return control("search").value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function list() {
  listed = data.labels.filter(passes).sort((a, b) => COMPARE[control("sort").value](a, b) || compareIds(a.id, b.id));
  current = 0;
  drawPage();
}

function node(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Flags keep the names that label files have; the page says `low_confidence` in its own word.
function flagName(flag) {
  return flag === "low_confidence" ? "high uncertainty" : flag.replaceAll("_", " ");
}

function flagNodes(label) {
  const warn = new Set(["low_confidence", "runaway", "grew_to_border", "fully_shared"]);
  return label.flags.map((flag) => node("span", { class: "flag" + (warn.has(flag) ? " warn" : "") }, flagName(flag)));
}

function verdictButtons(label, tabindex) {
  return Object.entries(VERDICTS).map(([verdict, name]) => {
    const pressed = decisions.get(label.id) === verdict;
    const button = node("button", { type: "button", class: verdict, "aria-pressed": pressed, tabindex }, name);
    button.dataset.verdict = verdict;
    return button;
  });
}

function behindText(label) {
  const names = label.behind.map((id) => (byId.has(id) ? className(byId.get(id)) : "#" + id));
  return names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
}

function card(label, isCurrent) {
  const open = node("button", { type: "button", class: "open", tabindex: -1, "aria-label": `Look closer at ${className(label)} ${label.id}` });
  open.append(labelPicture(label));
  const text = node(
    "div",
    { class: "text" },
    node("strong", {}, className(label)),
    " ",
    node("span", { class: "number" }, grown(label)),
    " · ",
    node("span", { class: "number" }, `uncertainty ${label.uncertainty.toFixed(2)}`),
  );
  if (label.behind.length) text.append(node("small", {}, "behind " + behindText(label)));
  text.append(node("small", {}, `#${label.id} in ${data.photos[label.photo].name}`), ...flagNodes(label));
  const element = node("li", { class: "card", tabindex: isCurrent ? 0 : -1 }, open, text);
  element.dataset.id = label.id;
  element.append(node("div", { class: "verdicts", role: "group", "aria-label": "decision" }, ...verdictButtons(label, isCurrent ? 0 : -1)));
  showVerdict(element, label);
  return element;
}

function showVerdict(element, label) {
  const verdict = decisions.get(label.id);
  if (verdict) element.dataset.verdict = verdict;
  else delete element.dataset.verdict;
  const said = `${className(label)} ${label.id}, ${grown(label)}, uncertainty ${label.uncertainty.toFixed(2)}`;
  element.setAttribute("aria-label", verdict ? `${said}, ${PAST[verdict]}` : said);
  for (const button of element.querySelectorAll("[data-verdict]")) {
    button.setAttribute("aria-pressed", button.dataset.verdict === verdict);
  }
}

function drawPage() {
  const first = Math.floor(current / PER_PAGE) * PER_PAGE;
  const cards = listed.slice(first, first + PER_PAGE).map((label, k) => card(label, first + k === current));
  control("gallery").replaceChildren(...cards);
  const pages = Math.max(1, Math.ceil(listed.length / PER_PAGE));
  const of = listed.length === data.labels.length ? "" : ` of ${number(data.labels.length)}`;
  control("place").textContent = `${number(listed.length)}${of} labels, page ${first / PER_PAGE + 1} of ${pages}`;
  control("previous").disabled = first === 0;
  control("next").disabled = first + PER_PAGE >= listed.length;
  control("message").textContent = listed.length ? "" : "No label passes these filters.";
  showProgress();
}

function showProgress() {
  const counts = Object.keys(VERDICTS).map((verdict) => [verdict, [...decisions.values()].filter((v) => v === verdict).length]);
  const parts = counts.filter(([, n]) => n).map(([verdict, n]) => `${number(n)} ${PAST[verdict]}`);
  const said = `${number(decisions.size)} of ${number(data.labels.length)} decided`;
  control("progress-text").textContent = parts.length ? `${said}: ${parts.join(", ")}` : said;
  control("progress").max = data.labels.length;
  control("progress").value = decisions.size;
  control("undo").disabled = !taken.length;
}

function cardOf(id) {
  return control("gallery").querySelector(`[data-id="${id}"]`);
}

function refresh(id) {
  const element = cardOf(id);
  if (element) showVerdict(element, byId.get(id));
  if (control("detail").open) showDetailVerdict();
  showProgress();
}

// Make one label the current one, on its page; `focus` also moves the keyboard there.
function goTo(place, focus = true) {
  if (!listed.length) return;
  const before = current;
  current = Math.min(Math.max(place, 0), listed.length - 1);
  if (Math.floor(before / PER_PAGE) !== Math.floor(current / PER_PAGE)) drawPage();
  for (const element of control("gallery").children) {
    const tabindex = element.dataset.id === listed[current].id ? 0 : -1;
    element.tabIndex = tabindex;
    element.querySelectorAll(".verdicts button").forEach((button) => (button.tabIndex = tabindex));
  }
  const element = cardOf(listed[current].id);
  if (focus) {
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest", behavior: "instant" });
  }
}

function turnPage(step) {
  const first = Math.floor(current / PER_PAGE) * PER_PAGE + step * PER_PAGE;
  if (first < 0 || first >= listed.length) return;
  goTo(first, false);
  control("labels").scrollIntoView({ behavior: "instant" });
  cardOf(listed[current].id).focus({ preventScroll: true });
}

function columns() {
  const cards = [...control("gallery").children];
  const below = cards.findIndex((element) => element.offsetTop > cards[0].offsetTop);
  return below < 0 ? cards.length : below;
}

function decideHere(id, verdict) {
  decide(id, verdict);
  refresh(id);
}
