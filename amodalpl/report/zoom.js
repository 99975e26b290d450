
// Zoom and pan of a picture: wheel or pinch zooms, dragging pans, a double click goes back to the start.

const PAN_PX = 4; // a pointer that moved less has clicked
const CLOSEST = 40; // times smaller than everything

// `all` is x, y, width and height of everything that may be shown; what `svg` shows now is the start.
function zoomable(svg, all) {
  const start = svg.getAttribute("viewBox").split(" ").map(Number);
  let view = [...start];
  const pointers = new Map(); // id -> its last event
  let moved = false;

  const clamp = (at, size, from, length) =>
    size >= length ? from + (length - size) / 2 : Math.min(Math.max(at, from), from + length - size);

  function show(x, y, width, height) {
    view = [clamp(x, width, all[0], all[2]), clamp(y, height, all[1], all[3]), width, height];
    svg.setAttribute("viewBox", view.join(" "));
    svg.style.touchAction = width < start[2] ? "none" : "pan-y"; // one finger scrolls the page until it can pan
  }

  // The place of a pointer in the picture's own units.
  function place(event) {
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  }

  function zoom(factor, { x, y }) {
    const most = Math.max(1, all[2] / view[2], all[3] / view[3]);
    const least = all[2] / CLOSEST / view[2];
    const f = Math.min(most, Math.max(least, factor));
    show(x - (x - view[0]) * f, y - (y - view[1]) * f, view[2] * f, view[3] * f);
  }

  const spread = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  const middle = ([a, b]) => ({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });

  function pan(from, to) {
    const [a, b] = [place(from), place(to)];
    show(view[0] + a.x - b.x, view[1] + a.y - b.y, view[2], view[3]);
  }

  svg.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(Math.exp(0.002 * event.deltaY), place(event));
    },
    { passive: false },
  );
  svg.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    moved = false;
  });
  svg.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    if (!moved && Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY) < PAN_PX) return;
    if (!moved) svg.setPointerCapture(event.pointerId);
    moved = true;
    const were = [...pointers.values()];
    pointers.set(event.pointerId, event);
    const are = [...pointers.values()];
    if (are.length === 1) pan(before, event);
    else {
      pan(middle(were), middle(are));
      zoom(spread(were) / Math.max(1, spread(are)), place(middle(are)));
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    svg.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  window.addEventListener("pointerup", (event) => pointers.delete(event.pointerId)); // let go beside the picture
  svg.addEventListener("click", (event) => moved && event.stopPropagation(), true); // a drag is no click, also where capture leaves its target
  svg.addEventListener("dblclick", () => show(...start));
  svg.zoomBy = (factor) => zoom(factor, { x: view[0] + view[2] / 2, y: view[1] + view[3] / 2 });
  svg.reset = () => show(...start);
  show(...start);
}
