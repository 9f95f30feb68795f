"use strict";
const album = JSON.parse(document.getElementById("album").textContent);
const views = JSON.parse(document.getElementById("views").textContent);
const byId = (id) => document.getElementById(id);

// Images come first where they are near the screen, the others when there is time, or at once for a printer.
const load = (img) => { img.src = album[img.dataset.key]; near.unobserve(img); };
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) load(target);
}, { rootMargin: "600px" });
const waiting = () => [...document.querySelectorAll("img[data-key]:not([src])")];
const loadAll = () => waiting().forEach(load);
function loadSome() {
  waiting().slice(0, 50).forEach(load);
  if (waiting().length) requestIdleCallback(loadSome);
}
waiting().forEach((img) => near.observe(img));
addEventListener("load", () => (window.requestIdleCallback ? requestIdleCallback(loadSome) : loadAll()));
addEventListener("beforeprint", loadAll);

// Tables sort by a click on a heading: numbers by value, and the other way round at the second click.
function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text.replace("−", "-"));
  return text === "" || Number.isNaN(number) ? text : number;
}
function compare(a, b) {
  const numbers = [typeof a === "number", typeof b === "number"];
  if (numbers[0] && numbers[1]) return a - b;
  if (numbers[0] !== numbers[1]) return numbers[0] ? -1 : 1;
  return a.localeCompare(b, "en", { numeric: true });
}
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.classList.contains("fixed")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      table.tHead.querySelectorAll("[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      const rows = [...body.rows].sort((a, b) => direction * compare(valueOf(a, column), valueOf(b, column)));
      body.append(...rows);
    });
  });
}

// The viewer: two images in one place.
const [viewer, stage, layers, under, over, left, right, mode, zoom, position] =
  ["viewer", "stage", "layers", "under", "over", "left", "right", "mode", "zoom", "position"].map(byId);
const NOTES = {
  slider: "Left of the slider is the left image. Arrow keys move it.",
  flicker: "The two images take turns.",
  error: "Black: equal. White: 64 or more of 255 apart.",
  beside: "Left and right.",
};
let task = 0, index = 0, timer = 0;

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([name]) => new Option(name, name)));
  select.value = chosen;
}
// The parts of the open image that there are, with their keys in the album.
function parts() {
  return ["input", "target", ...views[task].models]
    .map((part) => [part, `${task}/${index}/${part}`])
    .filter(([, key]) => key in album);
}
function show(model) {
  const there = parts();
  byId("viewer-title").textContent = `${views[task].task}: ${views[task].names[index]}`;
  if (!there.length) return;
  const names = there.map(([part]) => part);
  const keep = (select, wanted) => names.includes(wanted) ? wanted : names.includes(select.value) ? select.value : names[0];
  const chosen = [keep(left, model), keep(right, model ? "target" : "")];
  fill(left, there, chosen[0]);
  fill(right, there, chosen[1]);
  draw();
}
function draw() {
  const name = views[task].names[index];
  const keys = Object.fromEntries(parts());
  over.src = album[keys[left.value]];
  under.src = album[keys[right.value]];
  over.alt = `${left.value}, ${name}`;
  under.alt = `${right.value}, ${name}`;
  layers.dataset.mode = mode.value;
  layers.classList.remove("off");
  byId("position-label").style.visibility = mode.value === "slider" ? "visible" : "hidden";
  clearInterval(timer);
  timer = 0;
  byId("pause").hidden = mode.value !== "flicker";
  byId("pause").textContent = "Pause";
  if (mode.value === "flicker") flicker();
  const scores = [...new Set([left.value, right.value])].filter((part) => part in views[task].scores).map((part) => {
    const { psnr, ssim } = views[task].scores[part][index];
    return `${part}: ${psnr.toFixed(2)} dB, SSIM ${ssim.toFixed(3)}`;
  });
  byId("viewer-note").textContent = [NOTES[mode.value], ...scores].join(" ");
  scale();
}
function pause() {
  if (timer) { clearInterval(timer); timer = 0; } else flicker();
  byId("pause").textContent = timer ? "Pause" : "Resume";
}
function flicker() {
  const period = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1500 : 600;
  timer = setInterval(() => layers.classList.toggle("off"), period);
}
function scale() {
  const factor = Number(zoom.value);
  const across = mode.value === "beside" ? 2 : 1;
  for (const img of [under, over]) {
    if (!img.naturalWidth) continue;
    const fit = Math.min(stage.clientWidth / across / img.naturalWidth, stage.clientHeight / img.naturalHeight) * 0.98;
    const used = factor || fit;
    img.style.width = `${Math.floor(img.naturalWidth * used)}px`;
    img.style.height = `${Math.floor(img.naturalHeight * used)}px`;
    layers.classList.toggle("large", factor >= 2);
  }
}
function step(by) {
  const count = views[task].names.length;
  index = (index + by + count) % count;
  show();
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.open");
  if (!button) return;
  const [where, which, model] = button.dataset.view.split("/").map(Number);
  [task, index] = [where, which];
  viewer.showModal();
  show(views[task].models[model]);
});
for (const select of [left, right, mode]) select.addEventListener("change", draw);
zoom.addEventListener("change", scale);
under.addEventListener("load", scale);
over.addEventListener("load", scale);
addEventListener("resize", scale);
position.addEventListener("input", () => layers.style.setProperty("--cut", `${position.value}%`));
byId("pause").addEventListener("click", pause);
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => viewer.close());
viewer.addEventListener("close", () => clearInterval(timer));
viewer.addEventListener("keydown", (event) => {
  if (event.target.closest("select, input")) return;
  if (event.key === "n") step(1);
  if (event.key === "p") step(-1);
  if (event.key === " " && mode.value === "flicker" && event.target === stage) {
    event.preventDefault();
    pause();
  }
});
stage.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  const at = Math.min(zoom.options.length - 1, Math.max(0, zoom.selectedIndex + (event.deltaY < 0 ? 1 : -1)));
  zoom.selectedIndex = at;
  scale();
}, { passive: false });
