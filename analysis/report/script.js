"use strict";
// The report's script: sorting, values of the training curves, choosing samples. Text of the data is only ever moved
// as text or as nodes of this page; nothing is fetched, nothing is stored.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

// Tables that sort: a button in each head; first click the order that is asked for most, third click as it was.

function sortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = all("th[data-kind]", table.tHead);
  const collator = new Intl.Collator("en", { numeric: true });

  const key = (row, column, numeric) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    if (value === "") return null;
    return numeric ? Number(value) : cell.textContent;
  };
  const order = (column, numeric, up) => (one, other) => {
    const [a, b] = [key(one, column, numeric), key(other, column, numeric)];
    if (a === null || b === null) return (a === null) - (b === null);
    const sign = up ? 1 : -1;
    return sign * (numeric ? a - b : collator.compare(a, b));
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const numeric = head.dataset.kind === "number";
    const turns = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = turns[(turns.indexOf(head.getAttribute("aria-sort")) + 1) % 3];
      heads.forEach((each) => each.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", next);
      const rows = next === "none" ? original : [...original].sort(order(column, numeric, next === "ascending"));
      body.append(...rows);
    });
  });
}

// Which arms are shown: one choice for the whole page. Boxes of an arm say the same everywhere.

const shownArms = {
  hidden: new Set(),
  heard: [],
  has(arm) {
    return !this.hidden.has(String(arm));
  },
  set(arm, on) {
    this.hidden[on ? "delete" : "add"](arm);
    all(`input[data-arm="${arm}"]`).forEach((box) => (box.checked = on));
  },
  tell() {
    this.heard.forEach((action) => action());
  },
};

function armBoxes() {
  all("input[data-arm]").forEach((box) => {
    shownArms.set(box.dataset.arm, box.checked); // as the browser remembers it
    box.addEventListener("change", () => {
      shownArms.set(box.dataset.arm, box.checked);
      shownArms.tell();
    });
  });
  all("button[data-pick]").forEach((button) =>
    button.addEventListener("click", () => {
      all("input[data-arm]").forEach((box) => shownArms.set(box.dataset.arm, button.dataset.pick === "all"));
      shownArms.tell();
    })
  );
}

// Training curves: one metric at a time, one step at a time; the controls are the state, pointing only moves the slider.
// Scales and ticks are those of chart.py.

function svgNode(name, attributes, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([attribute, value]) => node.setAttribute(attribute, value));
  node.textContent = text;
  return node;
}

function scaleOf(steps, curves, log) {
  const drawn = curves.flat().filter((value) => value !== null && (!log || value > 0));
  const values = drawn.length ? drawn : [log ? 1 : 0, log ? 10 : 1];
  const [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)],
    [Infinity, -Infinity]);
  const x = [steps[0], steps[steps.length - 1]];
  if (log) return { x, y: [low / 1.1, high * 1.1], log };
  const pad = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
  return { x, y: [low >= 0 && low < 0.4 * high ? 0 : low - pad, high + pad], log };
}

function ticks(low, high, most) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].map((each) => power * each).find((each) => span / each <= most);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: most + 2 }, (_, i) => (first + i) * step).filter((value) => value <= high + 1e-9 * span);
}

function logTicks(low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const powers = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const factors = powers.length > 4 ? [1] : [1, 2, 5];
  const values = powers.flatMap((power) => factors.map((factor) => factor * 10 ** power));
  return values.filter((value) => low <= value && value <= high);
}

function tickText(value) {
  const text = value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential(0) : Number(value.toPrecision(10)).toLocaleString(
    "en", { maximumFractionDigits: 10 });
  return text.replace("-", "−");
}

function smoothed(values, weight) {
  let [sum, mass] = [0, 0]; // an exponential mean, of what there was so far
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}

function curves(data) {
  const [left, right, top, bottom, width, height] = data.plot;
  const choose = byId("curve-metric");
  const slider = byId("curve-step");
  const smooth = byId("curve-smooth");
  const log = byId("curve-log");
  const cells = all("#curve-values td[data-run]");
  const figures = all(".curve");
  const logs = new Map(Object.entries(data.metrics).map(([name, metric]) => [name, metric.log]));
  const shown = (value) => (value === null ? "–" : String(value).replace("-", "−"));
  const runs = () => data.arms.map((arm, run) => run).filter((run) => shownArms.has(data.arms[run]));
  let axes;

  const markers = new Map(
    figures.map((figure) => {
      const group = svgNode("g", {});
      figure.querySelector(".chart").append(group);
      return [figure.dataset.metric, group];
    })
  );

  const across = (x) => left + ((x - axes.x[0]) / (axes.x[1] - axes.x[0] || 1)) * (width - left - right);
  function up(y) {
    const [low, high] = axes.log ? axes.y.map(Math.log10) : axes.y;
    const value = axes.log ? Math.log10(y) : y;
    return height - bottom - ((value - low) / (high - low || 1)) * (height - top - bottom);
  }
  const drawable = (value) => value !== null && (!axes.log || value > 0);

  function grid() {
    const foot = height - bottom;
    const marks = axes.log ? logTicks(...axes.y) : ticks(...axes.y, 6);
    const rows = marks.flatMap((value) => [
      svgNode("line", { x1: left, x2: width - right, y1: up(value), y2: up(value), class: "grid" }),
      svgNode("text", { x: left - 8, y: up(value) + 4, "text-anchor": "end" }, tickText(value)),
    ]);
    const columns = ticks(...axes.x, 5).flatMap((value) => [
      svgNode("line", { x1: across(value), x2: across(value), y1: foot, y2: foot + 4, class: "axis" }),
      svgNode("text", { x: across(value), y: foot + 18, "text-anchor": "middle" }, tickText(value)),
    ]);
    return [...rows, ...columns];
  }

  function path(steps, values, run, kind) {
    let [line, pen] = ["", "M"];
    values.forEach((value, i) => {
      if (drawable(value)) line += `${pen}${across(steps[i]).toFixed(1)} ${up(value).toFixed(1)}`;
      pen = drawable(value) ? "L" : "M";
    });
    const node = svgNode("path", { d: line, class: `line ${kind}`, "data-run": run });
    node.style.stroke = data.colors[run];
    if (data.dashes[run]) node.setAttribute("stroke-dasharray", data.dashes[run]);
    return node;
  }

  function draw() {
    const metric = data.metrics[choose.value];
    const figure = figures.find((each) => each.dataset.metric === choose.value);
    const [chosen, weight] = [runs(), Number(smooth.value)];
    log.checked = logs.get(choose.value);
    log.disabled = !metric.runs.flat().some((value) => value > 0);
    axes = scaleOf(metric.steps, chosen.map((run) => metric.runs[run]), log.checked);
    const raw = chosen.map((run) => path(metric.steps, metric.runs[run], run, weight ? "faint" : ""));
    const even = weight ? chosen.map((run) => path(metric.steps, smoothed(metric.runs[run], weight), run, "")) : [];
    figure.querySelector(".axes").replaceChildren(...grid());
    figure.querySelector(".lines").replaceChildren(...raw, ...even);
    figure.querySelector(".scaled").textContent = axes.log ? " (logarithmic)" : "";
    byId("curve-smoothed").textContent = weight ? weight.toFixed(2) : "none";
    all("#curve-values tbody tr").forEach((row) =>
      row.classList.toggle("off", !shownArms.has(row.querySelector("input[data-arm]").dataset.arm))
    );
    read();
  }

  function read() {
    const metric = data.metrics[choose.value];
    const index = Number(slider.value);
    const step = metric.steps[index];
    const x = across(step);
    const parts = [svgNode("line", { class: "cursor", x1: x, x2: x, y1: top, y2: height - bottom })];
    runs().forEach((run) => {
      const value = metric.runs[run][index];
      if (!drawable(value)) return;
      const point = svgNode("circle", { class: "point", cx: x, cy: up(value), r: 3 });
      point.style.fill = data.colors[run];
      parts.push(point);
    });
    markers.get(choose.value).replaceChildren(...parts);
    cells.forEach((cell) => (cell.textContent = shown(metric.runs[Number(cell.dataset.run)][index])));
    const said = step.toLocaleString("en");
    byId("curve-at").textContent = said;
    slider.setAttribute("aria-valuetext", `step ${said}`);
  }

  function show() {
    figures.forEach((figure) => figure.classList.toggle("chosen", figure.dataset.metric === choose.value));
    const last = data.metrics[choose.value].steps.length - 1;
    slider.max = String(last);
    slider.value = String(last);
    draw();
  }

  function point(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const { steps } = data.metrics[choose.value];
    const at = ((event.clientX - box.left) / box.width) * width;
    const distance = (step) => Math.abs(across(step) - at);
    const nearest = steps.reduce((best, step, i) => (distance(step) < distance(steps[best]) ? i : best), 0);
    slider.value = String(nearest);
    read();
  }

  all(".chart").forEach((chart) => {
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
  });
  choose.addEventListener("change", show);
  slider.addEventListener("input", read);
  smooth.addEventListener("input", draw);
  log.addEventListener("change", () => {
    logs.set(choose.value, log.checked);
    draw();
  });
  shownArms.heard.push(draw);
  show();
}

// Samples: one sentence at a time, of the seed, in the order and with the arms one wants, at one decoding step.

function samples(data) {
  const [seed, order, choose, slider, marked] = ["sample-seed", "sample-order", "sentence", "decoding", "marked"].map(byId);
  const view = byId("sample-view");
  const kinds = { "+": "ins", "-": "del" };
  let steps = []; // of the outputs shown: where a step's text goes, and all of its texts

  function node(name, attributes, ...children) {
    const made = document.createElement(name);
    Object.entries(attributes).forEach(([attribute, value]) => made.setAttribute(attribute, value));
    made.append(...children);
    return made;
  }
  const text = (...children) => node("span", { class: "text", dir: "auto" }, ...children);
  const outputs = () => Object.entries(data.outputs[seed.value]).filter(([arm]) => shownArms.has(arm));
  const short = (words) => (words.length <= 60 ? words : `${words.slice(0, 59)}…`);

  function scoresOf(index) {
    return outputs().map(([, rows]) => rows[index][0]).filter((score) => score !== null);
  }

  const keys = {
    place: () => 0,
    low: (scores) => scores.reduce((sum, score) => sum + score, 0) / scores.length,
    high: (scores) => -keys.low(scores),
    apart: (scores) => Math.min(...scores) - Math.max(...scores),
  };

  function list() {
    const before = choose.value;
    const rows = data.sentences.map(([id, source], index) => {
      const scores = scoresOf(index);
      return { index, id, source, scores, key: scores.length ? keys[order.value](scores) : Infinity };
    });
    rows.sort((one, other) => (one.key < other.key ? -1 : one.key > other.key ? 1 : one.index - other.index));
    choose.replaceChildren(
      ...rows.map(({ index, id, source, scores }) => {
        const score = scores.length ? ` · BLEU ${keys.low(scores).toFixed(0)}` : "";
        return node("option", { value: index }, `${id}${score} · ${short(source)}`);
      })
    );
    if (before !== "") choose.value = before;
  }

  function output([arm, rows], index) {
    const [score, parts, own = []] = rows[index];
    const name = node("a", { href: `#arm-${arm}` }, node("bdi", {}, data.arms[arm]));
    const scored = score === null ? "" : node("span", { class: "note" }, `sentence BLEU ${score.toFixed(0)}`);
    const written = parts.map((part) => (part[0] in kinds ? node(kinds[part[0]], {}, part.slice(1)) : part.slice(1)));
    const final = node("p", { class: "line final" }, node("span", { class: "t" }, "output"), " ", text(...written));
    const now = node("p", { class: "line now" });
    if (own.length) steps.push({ now, own });
    const made = node("div", {}, ...(own.length ? [now] : []), final);
    return node("li", { "data-arm": arm }, node("p", { class: "who" }, name, " ", scored), made);
  }

  function show() {
    const index = Number(choose.value);
    const [id, source, references] = data.sentences[index];
    const pair = node("dl", { class: "pair" });
    [["source", source], ...references.map((words) => ["reference", words])].forEach(([name, words]) =>
      pair.append(node("dt", {}, name), node("dd", { dir: "auto" }, words))
    );
    steps = [];
    const written = outputs().map((each) => output(each, index));
    const none = node("p", { class: "note" }, "No arm is chosen that has this seed.");
    const below = written.length ? node("ol", { class: "outputs" }, ...written) : none;
    const heading = node("h3", {}, `Sentence ${id}, seed ${seed.value}`);
    view.replaceChildren(node("article", { class: "sentence chosen" }, heading, pair, below));
    byId("sentence-previous").disabled = choose.selectedIndex === 0;
    byId("sentence-next").disabled = choose.selectedIndex === choose.options.length - 1;
    if (!slider) return; // no arm writes step by step
    const most = Math.max(1, ...steps.map(({ own }) => own.length));
    slider.max = String(most - 1);
    slider.disabled = most < 2;
    slider.value = "0";
    read();
  }

  function changes(words, before) {
    return words.flatMap((word, i) => [
      i ? " " : "",
      before && before[i] !== word ? node("mark", {}, word) : word,
    ]);
  }

  function read() {
    const index = Number(slider.value);
    let said = "not recorded";
    steps.forEach(({ now, own }) => {
      const at = Math.min(index, own.length - 1);
      const words = (i) => own[i][1].split(/\s+/).filter(Boolean);
      const written = text(...changes(words(at), at ? words(at - 1) : null));
      now.replaceChildren(node("span", { class: "t" }, own[at][0]), " ", written);
      said = `${index + 1} of ${Number(slider.max) + 1}`;
    });
    byId("decoding-at").textContent = said;
    slider.setAttribute("aria-valuetext", said);
  }

  function anew() {
    list();
    show();
  }

  function turn(by) {
    choose.selectedIndex += by;
    show();
  }

  seed.addEventListener("change", anew);
  order.addEventListener("change", () => {
    choose.replaceChildren(); // the first in this order, not the one that was shown
    anew();
  });
  choose.addEventListener("change", show);
  byId("sentence-previous").addEventListener("click", () => turn(-1));
  byId("sentence-next").addEventListener("click", () => turn(1));
  marked.addEventListener("change", () => view.classList.toggle("unmarked", !marked.checked));
  if (slider) slider.addEventListener("input", read);
  shownArms.heard.push(anew);
  anew();
  view.classList.toggle("unmarked", !marked.checked);
}

all("table.sortable").forEach(sortable);
addEventListener("beforeprint", () => all("details.common").forEach((details) => (details.open = true)));
if (location.protocol !== "file:") all("a.folder").forEach((link) => link.removeAttribute("href")); // folders lie on the disk
armBoxes();
if (byId("curves-data")) curves(JSON.parse(byId("curves-data").textContent));
if (byId("samples-data")) samples(JSON.parse(byId("samples-data").textContent));
