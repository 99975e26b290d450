
// Pictures: a label on its photo.

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

// Stripes of one colour: a tint would mix with the colour of the photo.
function stripes(colour, scale, angle) {
  const attributes = { width: 8, height: 8, patternUnits: "userSpaceOnUse" };
  return svgElement(
    "pattern",
    { ...attributes, id: "stripes-" + patterns++, patternTransform: `scale(${2 * scale}) rotate(${angle})` },
    svgElement("rect", { width: 8, height: 8, fill: colour, "fill-opacity": 0.3 }),
    svgElement("rect", { width: 4, height: 8, fill: colour, "fill-opacity": 0.9 }),
  );
}

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
  const scale = (Math.max(view[2], view[3]) / (whole ? 600 : 240)) * 1.1;
  const patternOf = { hidden: stripes("rgb(240 140 0)", scale, 45), shared: stripes("rgb(204 121 167)", scale, -45), unmasked: stripes("rgb(0 158 115)", scale, 0) };
  const frame = { x: 0, y: 0, width, height, preserveAspectRatio: "none" };
  svg.append(svgElement("image", { ...frame, class: "layer-photo", "data-photo": label.photo }));
  showPhoto(svg.firstChild);
  const halfPixels = { transform: "scale(.5) translate(.5 .5)", "fill-rule": "evenodd" };
  const parts = svgElement("g", halfPixels, svgElement("defs", {}, ...Object.values(patternOf)));
  for (const [name, pattern] of Object.entries(patternOf)) {
    if (label[name]) parts.append(svgElement("path", { d: label[name], class: "layer-" + name, fill: `url(#${pattern.id})` }));
  }
  svg.append(parts);
  if (label.map) {
    const [x, y, w, h] = label.map.box;
    const href = "data:image/png;base64," + label.map.png;
    const place = { x, y, width: w, height: h, preserveAspectRatio: "none", href };
    svg.append(svgElement("image", { ...place, class: "layer-uncertainty", filter: "url(#heat)" }));
  }
  const lines = svgElement("g", halfPixels);
  for (const id of label.behind) {
    if (byId.has(id)) lines.append(svgElement("path", { d: byId.get(id).modal, class: "layer-occluders" }));
  }
  lines.append(svgElement("path", { d: label.amodal, class: "layer-outline under" }));
  lines.append(svgElement("path", { d: label.amodal, class: "layer-outline over" }));
  lines.append(svgElement("path", { d: label.modal, class: "layer-modal" }));
  svg.append(lines);
  return svg;
}

// The other objects of the photo, on top of a picture: each lights up with its box in the order graph, and can be
// clicked. Small ones lie on top of large ones.
function objectLayer(label, colours) {
  const layer = svgElement("g", { class: "objects", transform: "scale(.5) translate(.5 .5)", "fill-rule": "evenodd" });
  const area = ({ box }) => box[2] * box[3];
  const others = data.labels.filter((other) => other.photo === label.photo && other.modal);
  const near = neighbours(label);
  for (const other of others.sort((a, b) => area(b) - area(a))) {
    const here = other === label ? " here" : near.has(other.id) ? " near" : "";
    const shape = { d: other.modal, class: "object" + here, "data-object": other.id };
    layer.append(svgElement("path", { ...shape, style: `--own: ${colours.get(other.id) || "#fff"}` }));
  }
  return layer;
}
