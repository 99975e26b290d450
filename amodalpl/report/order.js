
// Who is in front of whom on a photo: a graph whose boxes have the colours of the objects in the picture beside it.

// Told apart from each other, and from blue (visible), orange (completed), purple (other masks) and white (whole).
const OBJECT_COLOURS = ["#f0e442", "#00b386", "#ff6b6b", "#8c7bff", "#17c3d4", "#b2df3a", "#c08552", "#ff5fc8"];
const [NODE_WIDTH, NODE_HEIGHT, STEP_X, STEP_Y] = [104, 36, 116, 72];
const [GRAPH_WIDTH, GRAPH_HEIGHT] = [420, 260]; // shown at first, of a large graph

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

// The colour of each object of a photo: its neighbours on the photo have other ones, as far as the colours last.
function objectColours(label) {
  const ids = data.labels.filter((other) => other.photo === label.photo && other !== label);
  ids.sort((a, b) => a.box[0] - b.box[0] || compareIds(a.id, b.id));
  const colours = new Map(ids.map((other, k) => [other.id, OBJECT_COLOURS[k % OBJECT_COLOURS.length]]));
  return colours.set(label.id, "rgb(86 180 233)"); // the outline of what is visible of it
}

// Ids of the labels that hide a label or that it hides.
function neighbours(label) {
  const pairs = data.photos[label.photo].pairs.filter((pair) => pair.includes(label.id));
  return new Set([...label.behind, ...pairs.flat().filter((id) => id !== label.id)]);
}

const shortId = (id) => "#" + (id.length > 9 ? "…" + id.slice(-8) : id);
const shortName = (name) => (name.length > 13 ? name.slice(0, 12) + "…" : name);

// Place boxes in rows: an object stands above what it hides; in a row, from left to right as on the photo.
function placeNodes(depth) {
  const rows = [];
  for (const [id, level] of depth) (rows[level] = rows[level] || []).push(id);
  const width = Math.max(...rows.map((ids) => ids.length)) * STEP_X;
  const middle = (id) => (byId.has(id) ? byId.get(id).box[0] + byId.get(id).box[2] / 2 : 0);
  const place = new Map();
  rows.forEach((ids, level) => {
    ids.sort((a, b) => middle(a) - middle(b) || compareIds(a, b));
    ids.forEach((id, k) => place.set(id, [width / 2 + (k - (ids.length - 1) / 2) * STEP_X, level * STEP_Y + 26]));
  });
  return { place, width, height: rows.length * STEP_Y - 16 };
}

function edgePath([x1, y1], [x2, y2]) {
  const half = NODE_HEIGHT / 2;
  if (y1 === y2) return `M${x1} ${y1 + half}Q${(x1 + x2) / 2} ${y1 + half + 26} ${x2} ${y2 + half}`;
  const down = y2 > y1 ? 1 : -1;
  return `M${x1} ${y1 + down * half}L${x2} ${y2 - down * (half + 1)}`;
}

function edges(label, place) {
  const photo = data.photos[label.photo];
  const both = (groups, a, b) => groups.some((group) => group.includes(a) && group.includes(b));
  return photo.pairs.flatMap(([front, back]) => {
    const mutual = both(photo.mutual, front, back);
    if (mutual && front > back) return []; // drawn once, with an arrow at both ends
    const kind = mutual ? " mutual" : both(photo.cycles, front, back) ? " cycle" : "";
    const near = front === label.id || back === label.id ? " near" : "";
    const ends = { "marker-end": "url(#arrow)", ...(mutual ? { "marker-start": "url(#arrow)" } : {}) };
    return [svgElement("path", { class: "edge" + near + kind, d: edgePath(place.get(front), place.get(back)), ...ends })];
  });
}

function graphNode(label, id, [x, y], colour) {
  const name = byId.has(id) ? className(byId.get(id)) : "";
  const left = -NODE_WIDTH / 2;
  return svgElement(
    "g",
    {
      class: "node" + (id === label.id ? " here" : ""),
      transform: `translate(${x} ${y})`,
      tabindex: 0,
      role: "button",
      "aria-label": `${name} ${id}${id === label.id ? ", shown" : ""}`,
      "data-object": id,
      style: `--own: ${colour || "transparent"}`,
    },
    svgElement("title", {}, `${name} #${id}`),
    svgElement("rect", { class: "box", x: left, y: -NODE_HEIGHT / 2, width: NODE_WIDTH, height: NODE_HEIGHT, rx: 6 }),
    svgElement("rect", { class: "own", x: left + 5, y: 5 - NODE_HEIGHT / 2, width: 7, height: NODE_HEIGHT - 10, rx: 3 }),
    svgElement("text", { x: left + 18, y: -3 }, shortName(name)),
    svgElement("text", { x: left + 18, y: 11, class: "id" }, shortId(id)),
  );
}

// What `#arrow` points from is in front. Clicks and keys on boxes are heard by the dialog, see detail.js.
function orderGraph(label, colours) {
  const photo = data.photos[label.photo];
  const depth = depths(photo);
  if (!depth.size) return node("p", {}, "No object on this photo hides another.");
  const { place, width, height } = placeNodes(depth);
  const marks = [
    photo.mutual.length ? `${photo.mutual.length} × hiding each other (two arrowheads)` : "",
    photo.cycles.length ? `${photo.cycles.length} × in a circle (dashed)` : "",
  ].filter(Boolean);
  const [x, y] = place.get(label.id) || [width / 2, 0];
  const [w, h] = [Math.min(width, GRAPH_WIDTH), Math.min(height, GRAPH_HEIGHT)];
  const start = [Math.min(Math.max(0, x - w / 2), width - w), Math.min(Math.max(0, y - h / 2), height - h), w, h];
  const said = ["Arrows lead from an object to what it hides", ...marks].join("; ");
  const svg = svgElement("svg", { class: "order", viewBox: start.join(" "), height: h, role: "group", "aria-label": said });
  svg.append(...edges(label, place), ...[...place].map(([id, at]) => graphNode(label, id, at, colours.get(id))));
  zoomable(svg, [0, 0, width, height]);
  const notes = ["An object stands above what it hides.", ...(marks.length ? [marks.join(", ") + "."] : [])];
  return node("div", {}, svg, node("p", {}, notes.join(" ")));
}
