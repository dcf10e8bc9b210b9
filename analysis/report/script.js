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

// Training curves: one metric at a time, one step at a time; the slider is the state, pointing only moves it.

function curves(data) {
  const [left, right, top, bottom, width, height] = data.plot;
  const choose = byId("curve-metric");
  const slider = byId("curve-step");
  const cells = all("#curve-values td[data-run]");
  const figures = all(".curve");
  const svgNode = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([attribute, value]) => node.setAttribute(attribute, value));
    return node;
  };

  const across = (metric, x) => left + ((x - metric.x[0]) / (metric.x[1] - metric.x[0] || 1)) * (width - left - right);
  const up = (metric, y) => {
    const [low, high] = metric.log ? metric.y.map(Math.log10) : metric.y;
    const value = metric.log ? Math.log10(y) : y;
    return height - bottom - ((value - low) / (high - low || 1)) * (height - top - bottom);
  };
  const shown = (value) => (value === null ? "–" : String(value).replace("-", "−"));

  const markers = new Map(
    figures.map((figure) => {
      const group = svgNode("g", {});
      figure.querySelector(".chart").append(group);
      return [figure.dataset.metric, group];
    })
  );

  function read() {
    const metric = data.metrics[choose.value];
    const index = Number(slider.value);
    const step = metric.steps[index];
    const x = across(metric, step);
    const parts = [svgNode("line", { class: "cursor", x1: x, x2: x, y1: top, y2: height - bottom })];
    metric.runs.forEach((values, run) => {
      const value = values[index];
      if (value === null || (metric.log && value <= 0)) return;
      parts.push(svgNode("circle", { class: "point", cx: x, cy: up(metric, value), r: 3, fill: data.colors[run] }));
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
    read();
  }

  function point(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const metric = data.metrics[choose.value];
    const at = ((event.clientX - box.left) / box.width) * width;
    const distance = (step) => Math.abs(across(metric, step) - at);
    const nearest = metric.steps.reduce((best, step, i) => (distance(step) < distance(metric.steps[best]) ? i : best), 0);
    slider.value = String(nearest);
    read();
  }

  all(".chart").forEach((chart) => {
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
  });
  choose.addEventListener("change", show);
  slider.addEventListener("input", read);
  show();
}

// Samples: one sentence at a time, the arms one wants, and the text at one decoding step.

function samples(controls) {
  const choose = byId("sentence");
  const slider = byId("decoding");
  const boxes = all("input[data-arm]", controls);
  const stepsOf = (output) => all(".steps li", output);

  all(".outputs > li").forEach((output) => {
    const now = document.createElement("p");
    now.className = "line now";
    output.querySelector(".final").before(now);
  });

  function read() {
    if (!slider) return; // no arm writes step by step
    const article = byId(choose.value);
    const index = Number(slider.value);
    let said = "no steps";
    all(".outputs > li", article).forEach((output) => {
      const steps = stepsOf(output);
      const now = output.querySelector(".now");
      if (!steps.length) return;
      const step = steps[Math.min(index, steps.length - 1)];
      now.replaceChildren(...[...step.children].map((part) => part.cloneNode(true)));
      if (index < steps.length) said = `${index + 1} of ${Number(slider.max) + 1}: ${step.firstChild.textContent}`;
    });
    byId("decoding-at").textContent = said;
    slider.setAttribute("aria-valuetext", said);
  }

  function show() {
    all(".sentence").forEach((article) => article.classList.toggle("chosen", article.id === choose.value));
    if (!slider) return;
    const lengths = all(".outputs > li", byId(choose.value)).map((output) => stepsOf(output).length);
    slider.max = String(Math.max(1, ...lengths) - 1);
    slider.disabled = Math.max(...lengths) < 2;
    slider.value = "0";
    read();
  }

  function pick() {
    const wanted = new Set(boxes.filter((box) => box.checked).map((box) => box.dataset.arm));
    all(".outputs > li").forEach((output) => (output.hidden = !wanted.has(output.dataset.arm)));
  }

  choose.addEventListener("change", show);
  if (slider) slider.addEventListener("input", read);
  boxes.forEach((box) => box.addEventListener("change", pick));
  show();
  pick();
}

all("table.sortable").forEach(sortable);
addEventListener("beforeprint", () => all("details.common").forEach((details) => (details.open = true)));
if (byId("curves-data")) curves(JSON.parse(byId("curves-data").textContent));
if (byId("sample-controls")) samples(byId("sample-controls"));
