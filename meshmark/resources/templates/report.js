// Zoom of a round: all its pictures show one span of time, chosen by dragging over one of them or in the round's bar.
// Nothing here is needed to read the page. Pictures are shown whole as they came, and when printed.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const NAMES_APART = 14, TICKS_MOST = 6, STEPS = [1, 2, 2.5, 5, 10];
const DRAGGED_LEAST = 3;
const LEAST_SHARE = 1 / 60; // of the round, and a second: a line has 300 points at most

const number = (value) => value.toLocaleString("en-US", {maximumFractionDigits: 3});
const between = (low, value, high) => Math.min(Math.max(value, low), high);

function element(name, attributes, words = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = words;
  return made;
}

// One picture; its lines and bands move under a lens, its words are written again.
class Picture {
  constructor(svg) {
    this.svg = svg;
    this.words = this.original = svg.querySelector("g.words");
    const plot = svg.querySelector("rect.plot");
    this.width = Number(plot.getAttribute("width"));
    this.height = Number(plot.getAttribute("height"));
    const marks = svg.querySelector("g.marks");
    const frame = {class: "lens", y: -2, width: this.width, height: this.height + 4, preserveAspectRatio: "none"};
    this.lens = element("svg", frame);
    marks.before(this.lens);
    this.lens.append(marks);
    this.lines = [...marks.querySelectorAll("g.lines > path")].map((path) =>
      [...path.getAttribute("d").matchAll(/([ML])(-?[\d.]+),(-?[\d.]+)/g)]
        .map(([, command, x, y]) => ({joined: command === "L", x: Number(x), y: Number(y)})));
  }

  show(start, end, whole) {
    const left = this.width * start / whole, width = this.width * (end - start) / whole;
    this.lens.setAttribute("viewBox", `${left} -2 ${width} ${this.height + 4}`);
    const all = end - start === whole;
    this.svg.classList.toggle("zoomed", !all);
    const words = all ? this.original : this.rewritten(start, end, left + width);
    this.words.replaceWith(words);
    this.words = words;
  }

  rewritten(start, end, right) {
    const words = this.original.cloneNode(true);
    const [time, model] = [words.querySelector("g.time"), words.querySelector("g.time text")];
    const colour = words.querySelector("g.time path").getAttribute("stroke");
    const baseline = model.getAttribute("y");
    time.replaceChildren();
    for (const second of ticks(start, end)) {
      const x = this.width * (second - start) / (end - start);
      time.append(element("path", {d: `M${x},${this.height + .5}v4`, stroke: colour}));
      const label = {x, y: baseline, "text-anchor": "middle", fill: model.getAttribute("fill")};
      time.append(element("text", label, number(second)));
    }
    const names = [...words.querySelectorAll("[data-line]")].reverse();
    const places = names.map((name) => ({name, y: height(this.lines[name.dataset.line], right)}));
    for (const {name, y} of apart(places, this.height)) name.setAttribute("y", y + 4);
    return words;
  }
}

function ticks(start, end) {
  const power = 10 ** Math.floor(Math.log10((end - start) / TICKS_MOST));
  const step = power * STEPS.find((unit) => unit * power * TICKS_MOST >= (end - start) * .999);
  const found = [];
  for (let place = Math.ceil(start / step - 1e-9); place * step <= end + step * 1e-9; place += 1) {
    found.push(Number((place * step).toPrecision(9)));
  }
  return found;
}

// Where a line is at x; its last point before, where it has a gap there. A line has one point at least.
function height(points, x) {
  const next = points.findIndex((point) => point.x > x);
  if (next === 0) return points[0].y;
  const last = points.at(next < 0 ? -1 : next - 1), after = points[next];
  if (next < 0 || !after.joined) return last.y;
  return last.y + (after.y - last.y) * (x - last.x) / (after.x - last.x);
}

// Names that would touch form a block around the mean of the places they want, as in the whole picture.
function apart(places, bottom) {
  const blocks = [];
  for (const place of places.sort((one, other) => one.y - other.y)) {
    let block = {names: [place], middle: place.y};
    while (blocks.length) {
      const names = [...blocks.at(-1).names, ...block.names], half = NAMES_APART * names.length / 2;
      if (block.middle - blocks.at(-1).middle >= half) break;
      const wanted = names.reduce((sum, {y}) => sum + y, 0) / names.length;
      block = {names, middle: between(half - NAMES_APART / 2, wanted, bottom + NAMES_APART / 2 - half)};
      blocks.pop();
    }
    blocks.push(block);
  }
  return blocks.flatMap(({names, middle}) =>
    names.map(({name}, place) => ({name, y: middle + NAMES_APART * (place - (names.length - 1) / 2)})));
}

class Round {
  constructor(section) {
    this.section = section;
    this.whole = this.end = Number(section.dataset.endS);
    this.start = 0;
    this.least = Math.min(this.whole, Math.max(1, this.whole * LEAST_SHARE));
    this.bar = section.querySelector(".span");
    [this.from, this.to] = this.bar.querySelectorAll("input");
    this.bar.hidden = false;
    this.bar.addEventListener("change", () => this.typed());
    this.bar.addEventListener("click", (event) => this.pressed(event.target.dataset.span));
    section.addEventListener("pointerdown", (event) => this.pulled(event));
  }

  // The middle stays where it was asked, as far as the round and the least span allow.
  set(start, end) {
    const width = between(this.least, end - start, this.whole);
    this.start = between(0, (start + end - width) / 2, this.whole - width);
    this.end = width === this.whole ? this.whole : this.start + width;
    this.draw(this.start, this.end);
    this.tell();
  }

  draw(start, end) {
    this.pictures ??= [...this.section.querySelectorAll("svg.chart:has(rect.plot)")].map((svg) => new Picture(svg));
    for (const picture of this.pictures) picture.show(start, end, this.whole);
  }

  tell() {
    [this.from.value, this.to.value] = [this.start, this.end].map((second) => Number(second.toFixed(1)));
    const part = this.end - this.start < this.whole;
    const span = `${number(Number(this.start.toFixed(1)))} to ${number(Number(this.end.toFixed(1)))} s`;
    this.bar.querySelector("output").textContent = part ? `Shown: ${span}` : "Shown: the whole round";
  }

  typed() {
    const read = (input, otherwise) => Number.isFinite(input.valueAsNumber) ? input.valueAsNumber : otherwise;
    const [start, end] = [read(this.from, this.start), read(this.to, this.end)];
    this.set(Math.min(start, end), Math.max(start, end));
  }

  pressed(what) {
    const {start, end} = this, width = end - start;
    if (what === "closer") this.set(start + width / 4, end - width / 4);
    if (what === "wider") this.set(start - width / 2, end + width / 2);
    if (what === "earlier") this.set(start - width / 2, end - width / 2);
    if (what === "later") this.set(start + width / 2, end + width / 2);
    if (what === "whole") this.set(0, this.whole);
  }

  // From one end of the span to the other. Escape, or a pull too short to be meant, changes nothing.
  pulled(event) {
    const plot = event.target;
    if (!plot.matches("rect.plot") || event.button !== 0 || !event.isPrimary) return;
    const [width, height] = ["width", "height"].map((name) => Number(plot.getAttribute(name)));
    const at = ({clientX, clientY}) =>
      between(0, new DOMPoint(clientX, clientY).matrixTransform(plot.getScreenCTM().inverse()).x, width);
    const first = at(event);
    const shade = element("rect", {class: "pulled", x: first, width: 0, height});
    const done = new AbortController();
    const stop = () => { done.abort(); shade.remove(); };
    const listen = (target, name, heard) => target.addEventListener(name, heard, {signal: done.signal});
    plot.before(shade);
    plot.setPointerCapture(event.pointerId);
    listen(plot, "pointermove", (moved) => {
      shade.setAttribute("x", Math.min(first, at(moved)));
      shade.setAttribute("width", Math.abs(at(moved) - first));
    });
    listen(plot, "pointercancel", stop);
    listen(document, "keydown", ({key}) => key === "Escape" && stop());
    listen(plot, "pointerup", (ended) => {
      stop();
      const time = (x) => this.start + (this.end - this.start) * x / width;
      const [low, high] = [first, at(ended)].sort((one, other) => one - other);
      if (high - low >= DRAGGED_LEAST) this.set(time(low), time(high));
    });
  }
}

const rounds = [...document.querySelectorAll("details.round:has(.span)")].map((section) => new Round(section));

function printing(now) {
  for (const round of rounds) {
    if (round.end - round.start < round.whole) {
      if (now) round.draw(0, round.whole);
      else round.draw(round.start, round.end);
    }
  }
}
addEventListener("beforeprint", () => printing(true));
addEventListener("afterprint", () => printing(false));
matchMedia("print").addEventListener("change", ({matches}) => printing(matches));
