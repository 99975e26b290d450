
// Pictures: a label on its photo, and who is in front of whom.

const SVG = "http://www.w3.org/2000/svg";
const sources = new Map(); // photo -> address of its picture

function svgElement(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// Show a photo once it is there: photos come last in the page, so that labels can be seen before all are read.
function showPhoto(image) {
  const number = image.dataset.photo;
  const holder = document.getElementById("photo-" + number);
  if (!holder || (document.readyState === "loading" && !holder.nextSibling)) return; // not there, or not all of it
  if (!sources.has(number)) {
    const bytes = Uint8Array.from(atob(holder.textContent), (letter) => letter.charCodeAt(0));
    const own = () => (bytes.length ? URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })) : "");
    sources.set(number, data.photos[number].src || own());
  }
  if (sources.get(number)) image.setAttribute("href", sources.get(number));
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("image[data-photo]:not([href])").forEach(showPhoto);
});

// The part of the photo to show: the label with a margin, or everything.
function viewBox(label, whole) {
  const [height, width] = data.photos[label.photo].size;
  if (whole) return [0, 0, width, height];
  const [x, y, w, h] = label.box;
  const margin = Math.max(8, 0.25 * Math.max(w, h));
  const left = Math.max(0, x - margin);
  const top = Math.max(0, y - margin);
  return [left, top, Math.min(width, x + w + margin) - left, Math.min(height, y + h + margin) - top];
}

let patterns = 0;

function labelPicture(label, whole = false) {
  const photo = data.photos[label.photo];
  const view = viewBox(label, whole);
  const [height, width] = photo.size;
  const svg = svgElement("svg", {
    class: "picture",
    viewBox: view.join(" "),
    role: "img",
    "aria-label": `${className(label)} ${label.id} on its photo ${photo.name}`,
  });
  const stripes = "stripes-" + patterns++;
  const scale = (Math.max(view[2], view[3]) / (whole ? 600 : 240)) * 1.1;
  const pattern = svgElement(
    "pattern",
    { id: stripes, width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: `scale(${2 * scale}) rotate(45)` },
    svgElement("rect", { width: 8, height: 8, fill: "rgb(240 140 0)", "fill-opacity": 0.4 }),
    svgElement("rect", { width: 4, height: 8, fill: "rgb(240 140 0)", "fill-opacity": 0.5 }),
  );
  const frame = { x: 0, y: 0, width, height, preserveAspectRatio: "none" };
  svg.append(svgElement("image", { ...frame, class: "layer-photo", "data-photo": label.photo }));
  showPhoto(svg.firstChild);
  const halfPixels = { transform: "scale(.5) translate(.5 .5)", "fill-rule": "evenodd" };
  const parts = svgElement("g", halfPixels, svgElement("defs", {}, pattern));
  parts.append(svgElement("path", { d: label.modal, class: "layer-modal" }));
  parts.append(svgElement("path", { d: label.hidden, class: "layer-hidden", fill: `url(#${stripes})` }));
  svg.append(parts);
  if (label.map) {
    const [x, y, w, h] = label.map.box;
    const href = "data:image/png;base64," + label.map.png;
    const place = { x, y, width: w, height: h, preserveAspectRatio: "none", href };
    svg.append(svgElement("image", { ...place, class: "layer-doubt", filter: "url(#heat)" }));
  }
  const lines = svgElement("g", halfPixels);
  for (const id of label.behind) {
    if (byId.has(id)) lines.append(svgElement("path", { d: byId.get(id).modal, class: "layer-occluders" }));
  }
  lines.append(svgElement("path", { d: label.amodal, class: "layer-outline under" }));
  lines.append(svgElement("path", { d: label.amodal, class: "layer-outline over" }));
  svg.append(lines);
  return svg;
}

// How deep each label lies: 0 where nothing is in front; labels that hide one another lie equally deep.
function depths(photo) {
  const leader = new Map();
  const find = (id) => (leader.has(id) && leader.get(id) !== id ? find(leader.get(id)) : id);
  for (const group of [...photo.cycles, ...photo.mutual]) group.forEach((id) => leader.set(find(id), find(group[0])));
  const ids = [...new Set(photo.pairs.flat())];
  const depth = new Map(ids.map((id) => [find(id), 0]));
  for (let round = 0; round < ids.length; round++) {
    let changed = false;
    for (const [front, back] of photo.pairs) {
      const [a, b] = [find(front), find(back)];
      if (a !== b && depth.get(b) <= depth.get(a)) {
        depth.set(b, depth.get(a) + 1);
        changed = true;
      }
    }
    if (!changed) break;
  }
  const used = [...new Set(depth.values())].sort((a, b) => a - b);
  return new Map(ids.map((id) => [id, used.indexOf(depth.get(find(id)))]));
}

// Front above back; the labels of one depth from left to right as on the photo.
function orderGraph(label, choose) {
  const photo = data.photos[label.photo];
  const depth = depths(photo);
  if (!depth.size) {
    const none = document.createElement("p");
    none.textContent = "Nothing on this photo is taken to hide anything else.";
    return none;
  }
  const [nodeWidth, stepX, stepY] = [84, 94, 62];
  const levels = [];
  for (const [id, level] of depth) (levels[level] = levels[level] || []).push(id);
  const most = Math.max(...levels.map((ids) => ids.length));
  const [width, height] = [most * stepX + 10, levels.length * stepY];
  const place = new Map();
  levels.forEach((ids, level) => {
    const middle = (id) => (byId.has(id) ? byId.get(id).box[0] + byId.get(id).box[2] / 2 : 0);
    ids.sort((a, b) => middle(a) - middle(b) || compareIds(a, b));
    ids.forEach((id, k) => place.set(id, [width / 2 + (k - (ids.length - 1) / 2) * stepX, level * stepY + 22]));
  });
  const names = ["arrows from what is in front to what it hides"];
  if (photo.mutual.length) names.push(`${photo.mutual.length} pairs hide each other`);
  if (photo.cycles.length) names.push(`${photo.cycles.length} cycles`);
  const svg = svgElement("svg", { class: "order", width, height, role: "group", "aria-label": names.join("; ") });
  const inCycle = (a, b) => photo.cycles.some((group) => group.includes(a) && group.includes(b));
  const isMutual = (a, b) => photo.mutual.some((group) => group.includes(a) && group.includes(b));
  for (const [front, back] of photo.pairs) {
    const mutual = isMutual(front, back);
    if (mutual && front > back) continue; // drawn once, with an arrow at both ends
    const [[x1, y1], [x2, y2]] = [place.get(front), place.get(back)];
    const level = y1 === y2;
    const [fromX, toX] = level ? [x1, x2] : [x1, x2];
    const d = level
      ? `M${fromX} ${y1 + 14}Q${(fromX + toX) / 2} ${y1 + 40} ${toX} ${y2 + 14}`
      : `M${x1} ${y1 + (y2 > y1 ? 14 : -14)}L${x2} ${y2 + (y2 > y1 ? -15 : 15)}`;
    const kind = mutual ? " mutual" : inCycle(front, back) ? " cycle" : "";
    const near = front === label.id || back === label.id ? " near" : "";
    const ends = { "marker-end": "url(#arrow)", ...(mutual ? { "marker-start": "url(#arrow)" } : {}) };
    svg.append(svgElement("path", { class: "edge" + near + kind, d, ...ends }));
  }
  for (const [id, [x, y]] of place) {
    const other = byId.get(id);
    const name = other ? className(other) : "";
    const node = svgElement(
      "g",
      {
        class: "node" + (id === label.id ? " here" : ""),
        transform: `translate(${x} ${y})`,
        tabindex: 0,
        role: "button",
        "aria-label": `${name} ${id}${id === label.id ? ", shown" : ""}`,
      },
      svgElement("title", {}, `${name} #${id}`),
      svgElement("rect", { x: -nodeWidth / 2, y: -14, width: nodeWidth, height: 28, rx: 6 }),
      svgElement("text", { y: 4 }, name.length > 13 ? name.slice(0, 12) + "…" : name),
    );
    if (other) {
      node.addEventListener("click", () => choose(other));
      node.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        event.stopPropagation();
        choose(other);
      });
    }
    svg.append(node);
  }
  const box = document.createElement("div");
  box.append(svg);
  const said = document.createElement("p");
  const marks = [
    photo.mutual.length ? `${photo.mutual.length} × hiding each other (two arrowheads)` : "",
    photo.cycles.length ? `${photo.cycles.length} × in a circle (dashed)` : "",
  ].filter(Boolean);
  said.textContent = "Front above back." + (marks.length ? ` ${marks.join(", ")}.` : "");
  box.append(said);
  return box;
}
