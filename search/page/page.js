"use strict";
const page = JSON.parse(document.getElementById("contents").textContent);
const J_PER_KWH = 3.6e6;
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"];  // Okabe and Ito
const $ = (id) => document.getElementById(id);
const names = page.platforms.map((platform) => platform.name);
const colour = (name) => COLOURS[Math.max(0, names.indexOf(name)) % COLOURS.length];
const state = { metric: null, shown: new Set(names), platform: null, limit: null, picked: [], chosen: null };
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function element(kind, text, attributes = {}) {
  const made = document.createElement(kind);
  if (text !== null && text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
function table(head, rows, numeric = []) {
  const made = element("table"), top = element("tr");
  head.forEach((text, i) => top.append(element("th", text, { scope: "col", class: numeric.includes(i) ? "number" : "" })));
  made.append(element("thead")); made.firstChild.append(top);
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr");
    row.forEach((text, i) => line.append(element("td", text, { class: numeric.includes(i) ? "number" : "" })));
    body.append(line);
  }
  made.append(body);
  return made;
}
function options(select, entries) {
  select.replaceChildren(...entries.map(([value, text]) => element("option", text, { value })));
}
const count = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });
const number = (value, digits = 4) => value === null || value === undefined ? "unknown"
  : Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 1e-4) ? value.toExponential(digits - 1)
  : Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 12 });
const energyOf = (kwh) => kwh >= 1e-3 ? `${number(kwh)} kWh` : `${number(kwh * J_PER_KWH)} J`;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const percent = (value, digits = 2) => value === null || value === undefined ? "unknown" : `${(100 * value).toFixed(digits)}%`;
const metricOf = (name) => page.metrics[name];
const axis = (name) => `${metricOf(name).label} (${metricOf(name).unit})`;
const frontsOf = (metric) => page.fronts.filter((front) => front.metric === metric);
const frontOn = (metric, platform) => frontsOf(metric).find((front) => front.platform === platform || front.platform === null);
const costOf = (subnet, metric, platform) => page.subnets[subnet].costs[platform || names[0]][metric];
const accuracyOf = (subnet) => page.subnets[subnet].measured ?? page.subnets[subnet].predicted;

function draw(id, spec) {
  const place = $(id), ink = getComputedStyle(document.body);
  const [text, line] = [ink.getPropertyValue("--ink").trim(), ink.getPropertyValue("--line").trim()];
  const config = {
    background: "transparent", font: "system-ui, sans-serif", view: { stroke: null },
    axis: { labelColor: text, titleColor: text, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 12, titleFontSize: 13, titleFontWeight: 500 },
    legend: { labelColor: text, titleColor: text, labelFontSize: 12, orient: "bottom", direction: "horizontal", columns: 2 },
  };
  const whole = { width: Math.max(220, place.clientWidth - 75), height: 300,
    config, ...spec };
  return vegaEmbed(place, whole, { mode: "vega-lite", actions: false, renderer: "svg", tooltip: { theme: dark.matches ? "dark" : "light" } });
}

// -- fronts -----------------------------------------------------------------------------------------------------------------

function frontRows(front) {
  const platform = front.platform || "all devices";
  return front.subnets.map((i) => {
    const subnet = page.subnets[i], name = metricOf(state.metric).label;
    return { subnet: i, platform, x: costOf(i, state.metric, front.platform), predicted: 100 * subnet.predicted,
      measured: subnet.measured === null ? null : 100 * subnet.measured, known: subnet.measured !== null,
      error: page.paired_error === null ? null : 100 * page.paired_error,
      [name]: `${number(costOf(i, state.metric, front.platform))} ${metricOf(state.metric).unit}`,
      "Predicted": percent(subnet.predicted), "Measured": subnet.measured === null ? "not measured" : percent(subnet.measured),
      "Input": `${subnet.resolution} px, ${subnet.blocks.length - 2} blocks` };
  });
}
function visible() {
  return frontsOf(state.metric).filter((front) => front.platform === null || state.shown.has(front.platform));
}
let frontView = null;
async function drawFront() {
  const rows = visible().flatMap(frontRows);
  const cloud = visible().flatMap((front) => front.cloud.map(([x, y]) => ({ x, y: 100 * y, platform: front.platform || "all devices" })));
  if (!rows.length) { frontView = null; $("front-chart").textContent = "Choose a device that knows this cost."; return; }
  const ends = rows.map((row) => row.x).concat(cloud.map((row) => row.x));
  const wide = Math.max(...ends) > 4 * Math.min(...ends);
  const shown = [...new Set(rows.map((row) => row.platform))];
  const scale = wide ? { type: "log", nice: false } : { zero: false, nice: false };
  const x = { field: "x", type: "quantitative", title: axis(state.metric), scale, axis: { tickCount: 6, format: "~g", labelOverlap: true } };
  const y = (field) => ({ field, type: "quantitative", title: `${capital(page.accuracy.words)}, validation (%)`, scale: { zero: false } });
  const color = { field: "platform", type: "nominal", scale: { domain: shown, range: shown.map(colour) }, legend: shown.length > 1 ? { title: null } : null };
  const tooltip = [metricOf(state.metric).label, "Predicted", "Measured", "Input"].map((field) => ({ field, type: "nominal" }));
  const layer = [
    { data: { values: cloud }, mark: { type: "circle", size: 9, opacity: 0.35, clip: true }, encoding: { x, y: y("y"), color } },
    { data: { values: rows }, mark: { type: "line", strokeDash: [5, 3], strokeWidth: 1.5 }, encoding: { x, y: y("predicted"), color } },
    { data: { values: rows }, mark: { type: "point", size: 45, opacity: 0.9, cursor: "pointer" }, encoding: { x, y: y("predicted"), color, tooltip } },
  ];
  const known = rows.filter((row) => row.known);
  if (known.length) {
    layer.push({ data: { values: known }, mark: { type: "point", filled: true, size: 75, opacity: 1, cursor: "pointer" },
      encoding: { x, y: y("measured"), color, tooltip } });
  }
  if (known.length && page.paired_error !== null) {
    layer.push({ data: { values: known }, mark: { type: "rule", strokeWidth: 1.5 },
      transform: [{ calculate: "datum.measured - datum.error", as: "low" }, { calculate: "datum.measured + datum.error", as: "high" }],
      encoding: { x, y: y("low"), y2: { field: "high" }, color } });
  }
  layer.push({ data: { name: "limit", values: [{ limit: state.limit }] }, mark: { type: "rule", strokeDash: [2, 3], strokeWidth: 1.5, color: dark.matches ? "#e6edf3" : "#1b1f24" },
    encoding: { x: { ...x, field: "limit" } } });
  const made = await draw("front-chart", { height: 380, layer });
  frontView = made.view;
  frontView.addEventListener("click", (event, item) => {
    const datum = item && item.datum;
    if (!datum || datum.subnet === undefined) return;
    if (datum.platform !== "all devices") state.platform = datum.platform;
    $("answer-platform").value = state.platform;
    setLimit(datum.x);
  });
  const bars = page.paired_error === null ? "" : ` Bars: \u00b1 one standard error between subnets (${percent(page.paired_error)}).`;
  const lacking = page.platforms.filter((platform) => !frontOn(state.metric, platform.name)).map((platform) => platform.name);
  $("front-caption").textContent = "Dashed, open: predicted. Filled: measured" + (page.images === null ? "; none is." : ` on ${page.images.toLocaleString("en")} images.`) +
    bars + " Small dots: random subnets, predicted. A click on a point sets the limit." +
    (lacking.length ? ` Unknown on ${lacking.join(", ")}.` : "") +
    (state.metric === "energy_mj" && page.mixed_boundaries ? ` ${capital(page.mixed_boundaries)}.` : "");
  showLimit();
}
function showLimit() {
  if (frontView && state.limit > 0) frontView.data("limit", [{ limit: state.limit }]).runAsync();
}

// -- answer -----------------------------------------------------------------------------------------------------------------

function answerFront() { return frontOn(state.metric, state.platform); }
function ends() {
  const costs = answerFront().subnets.map((i) => costOf(i, state.metric, state.platform));
  return [Math.min(...costs), Math.max(...costs)];
}
function best(limit) {
  let found = null;
  for (const i of answerFront().subnets) {
    if (costOf(i, state.metric, state.platform) <= limit && (found === null || page.subnets[i].predicted > page.subnets[found].predicted)) found = i;
  }
  return found;
}
function quoted(word) { return /^[A-Za-z0-9._\/:+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`; }
function commandOf(limit) {
  return `ofa query ${quoted(page.asked)} --platform ${quoted(platformOf(state.platform).asked)} ${metricOf(state.metric).flag} ${limit} --out best/`;
}
const platformOf = (name) => page.platforms.find((platform) => platform.name === name);
function setLimit(limit, fromSlider = false) {
  state.limit = limit;
  const [low, high] = ends();
  if (!fromSlider) $("limit").value = high > low ? Math.round(1000 * Math.log(Math.max(limit, low) / low) / Math.log(high / low)) : 1000;
  $("limit-number").value = Number(limit.toPrecision(5));
  $("limit").setAttribute("aria-valuetext", `${number(limit)} ${metricOf(state.metric).unit}`);
  showAnswer();
  showLimit();
}
function showAnswer() {
  const body = $("answer-body"), limit = Number($("limit-number").value), found = best(state.limit);
  state.chosen = found;
  if (found === null) {
    body.replaceChildren(element("p", `No subnet takes so little: the least is ${number(ends()[0])} ${metricOf(state.metric).unit}.`));
    showFootprint();
    return;
  }
  const subnet = page.subnets[found], costs = subnet.costs[state.platform];
  const top = element("p", null, { class: "big", id: "answer-accuracy" });
  top.append(percent(subnet.measured ?? subnet.predicted), element("span", subnet.measured === null ? " predicted" : ` measured on ${page.images.toLocaleString("en")} images`, { class: "note" }));
  const rows = Object.keys(page.metrics).filter((name) => costs[name] !== undefined)
    .map((name) => [metricOf(name).label, `${number(costs[name])} ${metricOf(name).unit}` + (costs[`${name}_p90`] === undefined ? "" : `, p90 ${number(costs[`${name}_p90`])}`)]);
  rows.unshift(["Predicted", percent(subnet.predicted) + (subnet.std === null ? "" : ` \u00b1 ${percent(subnet.std)}`)]);
  rows.push(["Input", `${subnet.resolution} x ${subnet.resolution} px`], ["Blocks", String(subnet.blocks.length - 2)]);
  const letter = (subnet.letters || {})[state.platform];
  if (letter) {
    const words = letter.length > 1 && letter[0] !== letter[1] ? `${letter[0]} to ${letter[1]}` : letter[0];
    rows.push([`Energy label ${page.label.id}`, words]);
  }
  const facts = table(["", ""], rows);
  if (letter) facts.querySelector("tr:last-child td:last-child").append(ladder(letter));
  const command = element("pre", commandOf(limit), { id: "command" });
  const copy = element("button", "Copy command", { type: "button" });
  copy.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(command.textContent); copy.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(command); copy.textContent = "Selected"; }
  });
  const compare = element("button", "Compare below", { type: "button", id: "pick" });
  compare.addEventListener("click", () => pick(found));
  body.replaceChildren(top, facts, command, copy, document.createTextNode(" "), compare);
  body.dataset.subnet = found;
  showFootprint();
}

// The label in small, as label.svg has it: the letter of the p90 is filled, that of the p10 outlined where it differs.
function ladder(letters) {
  const space = "http://www.w3.org/2000/svg", step = 13, all = [...page.label.letters], [low, high] = [letters[0], letters.at(-1)];
  const part = (kind, attributes, text) => {
    const made = document.createElementNS(space, kind);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  };
  const drawn = part("svg", { viewBox: `0 0 150 ${step * all.length}`, width: 150, height: step * all.length, class: "ladder", role: "img",
    "aria-label": `class ${low === high ? high : `${low} to ${high}`}` });
  all.forEach((letter, i) => {
    const width = 34 + 9 * i, y = step * i;
    drawn.append(part("rect", { x: 0, y, width, height: step - 2, fill: page.label.colours[i], stroke: "#000", "stroke-width": .6 }),
      part("text", { x: width - 12, y: y + 9, "font-size": 10, "font-weight": 700, fill: "#000" }, letter));
    if (letter === low || letter === high) {
      drawn.append(part("path", { d: `M ${width + 4} ${y + 5.5} l 8 -5.5 h 16 v 11 h -16 z`, fill: letter === high ? "#000" : "#fff", stroke: letter === high ? "#fff" : "#000" }),
        part("text", { x: width + 15, y: y + 9, "font-size": 10, "font-weight": 700, fill: letter === high ? "#fff" : "#000" }, letter));
    }
  });
  return drawn;
}

// -- subnets side by side ---------------------------------------------------------------------------------------------------

function pick(subnet) {
  state.picked = state.picked.filter((one) => one !== subnet).concat([subnet]).slice(-3);
  showDiagrams();
}
function showDiagrams() {
  const platform = $("share-platform").value, metric = $("share-metric").value;
  const widest = Math.max(...state.picked.flatMap((i) => page.subnets[i].blocks.map((block) => block.width)));
  const highest = Math.max(...state.picked.map((i) => sum(page.subnets[i].shares[platform][metric] || [])));
  $("diagrams").replaceChildren(...state.picked.map((i) => {
    const subnet = page.subnets[i], made = element("div", null, { class: "diagram" }), parts = subnet.shares[platform][metric] || [];
    const total = sum(parts), role = i === page.largest ? " (largest)" : i === page.smallest ? " (smallest)" : "";
    made.append(element("h3", `${percent(accuracyOf(i))}${subnet.measured === null ? " predicted" : ""}, ${subnet.resolution} px${role}`));
    made.append(element("p", `${number(costOf(i, metric, platform))} ${metricOf(metric).unit}`, { class: "note" }));
    let before = null;
    subnet.blocks.forEach((block, b) => {
      const share = total > 0 ? parts[b] / total : 0;
      const what = block.kernel === undefined ? block.stage : `${block.kernel}x${block.kernel}, expand ${block.expand}${block.se ? ", SE" : ""}`;
      const box = element("div", null, { class: block.stage === before ? "block" : "block new",
        style: `height:${Math.max(20, 360 * parts[b] / highest)}px;width:${35 + 65 * Math.sqrt(block.width / widest)}%`,
        title: `${what}: ${number(parts[b])} ${metricOf(metric).unit}, ${percent(share, 0)}` });
      box.append(element("span", what), element("span", `${block.width} ch, ${percent(share, 0)}`));
      before = block.stage;
      made.append(box);
    });
    if (state.picked.length > 1) {
      const away = element("button", "Remove", { type: "button" });
      away.addEventListener("click", () => { state.picked = state.picked.filter((one) => one !== i); showDiagrams(); });
      made.append(away);
    }
    return made;
  }));
}
const sum = (values) => values.reduce((one, other) => one + other, 0);

// -- training, predictor ----------------------------------------------------------------------------------------------------

function drawTraining() {
  const rows = page.epochs, which = { largest: "#0072B2", random: "#009E73", smallest: "#D55E00" };
  if (!rows.length) { $("accuracy-chart").textContent = "The run keeps no record of its epochs."; }
  else {
    const x = { field: "epoch", type: "quantitative", title: "Epoch", axis: { tickMinStep: 1, format: "d" }, scale: { nice: false } };
    const lines = rows.flatMap((row, i) => Object.keys(which).filter((name) => typeof row[`top1_${name}`] === "number")
      .map((name) => ({ epoch: i + 1, subnet: name, value: 100 * row[`top1_${name}`], phase: row.name })));
    const tooltip = [{ field: "phase" }, { field: "subnet" }, { field: "epoch" }, { field: "value", format: ".2f" }];
    draw("accuracy-chart", { height: 260, data: { values: lines }, mark: { type: "line", point: true }, encoding: { x, tooltip,
      y: { field: "value", type: "quantitative", title: "Top-1, validation (%)", scale: { zero: false } },
      color: { field: "subnet", type: "nominal", scale: { domain: Object.keys(which), range: Object.values(which) }, legend: { title: null, columns: 3 } } } });
    draw("loss-chart", { height: 260, data: { values: rows.map((row, i) => ({ epoch: i + 1, loss: row.loss, phase: row.name })) },
      mark: { type: "line", point: true }, encoding: { x, y: { field: "loss", type: "quantitative", title: "Loss", scale: { zero: false } },
        color: { field: "phase", type: "nominal", scale: { range: COLOURS }, sort: null, legend: { title: null, columns: 3 } }, tooltip: [{ field: "phase" }, { field: "epoch" }, { field: "loss", format: ".4f" }] } });
  }
  if (page.work.length) {
    $("work").append(element("h3", "Time and energy, by purpose"), table(["Purpose", "Minutes", "Energy, kJ", "Kind", "Source"],
      page.work.map((row) => [row.purpose, (row.seconds / 60).toFixed(1), row.joules === null ? "unknown" : number(row.joules / 1000), row.kind,
        [...row.sources, ...row.missing.map((text) => `without ${text}`)].join("; ")]), [1, 2]));
  }
}
function drawPredictor() {
  const pairs = page.predictor.pairs.map(([measured, predicted]) => ({ measured: 100 * measured, predicted: 100 * predicted }));
  if (pairs.length) {
    const both = pairs.flatMap((pair) => [pair.measured, pair.predicted]), domain = [Math.min(...both), Math.max(...both)];
    const scale = { domain, zero: false, nice: false };
    draw("predictor-chart", { height: 300, layer: [
      { data: { values: domain.map((value) => ({ value })) }, mark: { type: "line", strokeDash: [3, 3], color: "#8c959f" },
        encoding: { x: { field: "value", type: "quantitative", scale, title: "Measured (%)" }, y: { field: "value", type: "quantitative", scale, title: "Predicted (%)" } } },
      { data: { values: pairs }, mark: { type: "point", filled: true, size: 35, color: "#0072B2", opacity: 0.7 },
        encoding: { x: { field: "measured", type: "quantitative", scale }, y: { field: "predicted", type: "quantitative", scale },
          tooltip: ["measured", "predicted"].map((field) => ({ field, type: "quantitative", format: ".2f" })) } }] });
  } else $("predictor-chart").textContent = "No measured subnets are kept with this predictor.";
  const { report, noise } = page.predictor, rows = [["Kind", page.predictor.kind], ["Fitted to", `${page.predictor.samples} measured subnets`]];
  if (report) rows.push(["Kendall tau, cross-validated", number(report.kendall_tau, 3)], ["Mean error", percent(report.mean_absolute_error)]);
  if (noise) rows.push(["Noise of a measurement", percent(noise.std)], ["Best tau that noise allows", number(noise.tau_ceiling, 3)]);
  $("predictor-facts").append(table(["", ""], rows.map((row) => row.map(String))), element("p", "Points of the sample that it was fitted to: cross-validated figures are beside.", { class: "note" }));
}

// -- footprint --------------------------------------------------------------------------------------------------------------

function roundedPower(id) { const value = 10 ** Number($(id).value); return Number(value.toPrecision(2)); }
function showFootprint() {
  const inferences = roundedPower("inferences"), devices = Math.max(1, Math.round(roundedPower("devices")));
  $("inferences-value").textContent = count(inferences); $("devices-value").textContent = count(devices);
  const body = $("footprint-body"), grid = $("grid").value === "" ? null : page.grids[Number($("grid").value)];
  const onceText = $("training-kwh").value, once = onceText === "" ? null : Number(onceText);
  const energy = state.chosen === null ? undefined : page.subnets[state.chosen].costs[state.platform].energy_mj;
  const use = energy === undefined ? null : inferences * devices * energy / 1000 / J_PER_KWH;
  const kg = (kwh) => kwh === null ? "unknown" : grid === null ? "no grid chosen" : `${number(kwh * grid.g_per_kwh / 1000)} kg CO2e`;
  const kind = onceText !== "" && Number(onceText) === measuredKwh() ? "booked by the run" : "given here";
  const rows = [["Training and search, once", once === null ? "unknown" : energyOf(once), kg(once), once === null ? "no counter was readable; type a value above" : kind],
    [`Inference on ${state.platform}`, use === null ? "unknown" : energyOf(use), kg(use), use === null ? "the platform states no energy" : platformOf(state.platform).kind]];
  body.replaceChildren(table(["Part", "Energy", "CO2e", "Kind"], rows));
  if (once !== null && use !== null && once + use > 0) {
    const bar = element("div", null, { class: "bar", role: "img", "aria-label": `training ${percent(once / (once + use), 0)}, inference ${percent(use / (once + use), 0)}` });
    bar.append(element("div", null, { class: "once", style: `width:${100 * once / (once + use)}%` }), element("div", null, { class: "use", style: `width:${100 * use / (once + use)}%` }));
    body.append(bar, element("p", `Training ${percent(once / (once + use), 0)} (left), inference ${percent(use / (once + use), 0)} (right). The mark in the middle is the break-even: use is as much as training.`, { class: "note" }));
  }
  const even = once === null || !energy ? null : once * J_PER_KWH / (energy / 1000);
  body.append(element("p", even === null ? "Break-even: unknown while an energy is." : `Use passes training after ${count(even)} inferences, all devices together: this is ` +
    (inferences * devices >= even ? "past it." : `${percent(inferences * devices / even, 1)} of it.`), { id: "break-even" }));
  if (grid !== null) body.append(element("p", `${grid.name}, ${grid.year}: ${grid.g_per_kwh} g CO2e/kWh.`, { class: "note" }));
}
function measuredKwh() {
  const known = page.work.filter((row) => row.joules !== null);
  return known.length ? Number((sum(known.map((row) => row.joules)) / J_PER_KWH).toPrecision(4)) : null;
}

// -- provenance, start ------------------------------------------------------------------------------------------------------

function showProvenance() {
  const body = $("provenance-body");
  body.append(table(["", ""], page.provenance));
  for (const platform of page.platforms) {
    const unknown = Object.entries(platform.unknown).map(([name, why]) => `${metricOf(name).label} unknown: ${why}`);
    const rows = [["Device", `${platform.device}; ${platform.runtime}, ${platform.precision}, batch ${platform.batch}`], ["Kind", platform.kind],
      ["Source", platform.source], ["Error", platform.error], ...unknown.map((text) => ["", text]), ...platform.warnings.map((text) => ["Warning", text])];
    body.append(element("h3", `Platform ${platform.name}`), table(["", ""], rows));
  }
}
function choose(metric) {
  state.metric = metric;
  const known = page.platforms.filter((platform) => frontOn(metric, platform.name));
  options($("answer-platform"), known.map((platform) => [platform.name, platform.name]));
  if (!known.some((platform) => platform.name === state.platform)) state.platform = known[0].name;
  $("answer-platform").value = state.platform;
  $("limit-label").textContent = `${metricOf(metric).label} at most`; $("limit-unit").textContent = metricOf(metric).unit;
  const [low, high] = ends();
  setLimit(Math.sqrt(low * high));
  drawFront();
}
function start() {
  const test = page.result.largest_top1 === undefined ? "" : ` Test images (${page.result.images.toLocaleString("en")}), nothing retrained: smallest ${percent(page.result.smallest_top1, 1)}, ` +
    `mean of random subnets ${percent(page.result.random_top1_mean, 1)}, largest ${percent(page.result.largest_top1, 1)}.`;
  $("subtitle").textContent = `One supernet, space ${page.space}.${test}`;
  const metrics = [...new Set(page.fronts.map((front) => front.metric))];
  metrics.forEach((name, i) => {
    const label = element("label"), input = element("input", null, { type: "radio", name: "metric", value: name });
    input.checked = i === 0; input.addEventListener("change", () => choose(name));
    label.append(input, ` ${metricOf(name).label}`); $("metric").append(label);
  });
  names.forEach((name) => {
    const label = element("label"), input = element("input", null, { type: "checkbox", value: name });
    input.checked = true;
    input.addEventListener("change", () => { input.checked ? state.shown.add(name) : state.shown.delete(name); drawFront(); });
    label.append(input, element("span", null, { class: "swatch", style: `background:${colour(name)}` }), name); $("platforms").append(label);
  });
  $("limit").addEventListener("input", () => {
    const [low, high] = ends(), part = Number($("limit").value) / 1000;
    setLimit(Number((low * (high / low) ** part * (part === 1 ? 1 + 1e-4 : 1)).toPrecision(5)), true);
  });
  $("limit-number").addEventListener("change", () => { const value = Number($("limit-number").value); if (value > 0) setLimit(value); });
  $("answer-platform").addEventListener("change", () => { state.platform = $("answer-platform").value; setLimit(state.limit); });
  options($("share-platform"), names.map((name) => [name, name]));
  const shareMetrics = () => options($("share-metric"), Object.keys(page.subnets[0].shares[$("share-platform").value]).map((name) => [name, metricOf(name).label]));
  shareMetrics();
  $("share-platform").addEventListener("change", () => { shareMetrics(); showDiagrams(); });
  $("share-metric").addEventListener("change", showDiagrams);
  options($("grid"), [["", "none chosen"], ...page.grids.map((grid, i) => [String(i), `${grid.name}: ${number(grid.g_per_kwh)} g/kWh`])]);
  const booked = measuredKwh();
  if (booked !== null) $("training-kwh").value = booked;
  ["inferences", "devices", "grid", "training-kwh"].forEach((id) => $(id).addEventListener("input", showFootprint));
  $("subnets-intro").textContent = "The smallest and the largest subnet, and those that you compare from above. A block is as high as its share, and the wider the more channels it has.";
  state.picked = [...new Set([page.smallest, page.largest])];
  choose(metrics[0]);
  showDiagrams(); drawTraining(); drawPredictor(); showProvenance();
  const again = () => { drawFront(); $("accuracy-chart").replaceChildren(); $("work").replaceChildren(); $("predictor-facts").replaceChildren(); drawTraining(); drawPredictor(); };
  dark.addEventListener("change", again);
  let width = window.innerWidth, timer = null;
  window.addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(() => { if (window.innerWidth !== width) { width = window.innerWidth; again(); } }, 200); });
}
start();
