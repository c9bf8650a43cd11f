// Phenome-wide plots: all traits of a variant or predictor, the forest of the most significant ones, and their table.
(() => {
  const { scale, read, typed, bytes, element, whole, pText, effect, oddsRatio, prepare, verticalAxis, line, edges, inside,
    shorten, nearest, figure, cell, plainTable, sortable, filtered, panels } = common;
  const phenome = read("phenome");
  const FOREST = 20;
  const LABELS = 14;
  const COLOURS = 8;
  const NONE = -1;
  const HIDDEN = -2;

  const named = (t) => phenome.labels[t] || phenome.traits[t];
  const categoryOf = new Array(phenome.traits.length);
  let first = 0;
  phenome.sizes.forEach((size, k) => {
    for (const t of phenome.order.slice(first, first + size)) categoryOf[t] = k;
    first += size;
  });

  const count = (value) => (value === HIDDEN ? `≤${phenome.hidden}` : value === NONE || value === null ? "" : whole(value));
  const sortCount = (value) => (value === HIDDEN ? 0.5 : value === NONE ? null : value);
  const interval = (beta, se) => `${effect(beta)} (${effect(beta - 1.96 * se)} to ${effect(beta + 1.96 * se)})`;
  const estimate = (t, beta, se) => (beta === null ? "" : phenome.binary[t] ? oddsRatio(beta, se) : interval(beta, se));

  function colour(k) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--cat${k % COLOURS}`).trim();
  }

  function triangle(pen, x, y, size, up) {
    const s = up ? -1 : 1;
    pen.beginPath();
    pen.moveTo(x, y + s * size);
    pen.lineTo(x + size, y - s * size * 0.75);
    pen.lineTo(x - size, y - s * size * 0.75);
    pen.closePath();
    pen.fill();
  }

  // ---- the plot of all traits -------------------------------------------------------------------------

  function plot(canvas, data, arrays) {
    const labelled = phenome.categories.some((name) => name !== "");
    const draw = prepare(canvas, labelled ? 470 : 380);
    const { pen, width, height, colours } = draw;
    const box = { left: 52, right: width - 10, top: 26, bottom: height - (labelled ? 118 : 34) };
    const highest = arrays.value.reduce((best, value) => Math.max(best, value), 0);
    const top = Math.max(data.threshold * 1.15, highest * (highest > scale.limit && !scale.linear ? 1.3 : 1.12));
    const place = verticalAxis(draw, box, top, "Observed");
    const across = inside(box);
    // A gap between categories, as wide as a few traits.
    const gap = phenome.sizes.length > 1 ? Math.max(1, phenome.traits.length / 150) : 0;
    const span = phenome.traits.length + gap * (phenome.sizes.length - 1);
    const px = new Float64Array(phenome.traits.length);
    let at = 0;
    let slot = 0;
    phenome.sizes.forEach((size, k) => {
      const from = at;
      for (let i = 0; i < size; i++) px[phenome.order[slot++]] = across((at++ + 0.5) / span);
      if (labelled) categoryLabel(draw, box, phenome.categories[k], k, across((from + size / 2) / span));
      at += gap;
    });
    const py = Float64Array.from(arrays.value, (value) => (value < 0 ? NaN : place(value)));
    const size = phenome.traits.length > 600 ? 3.2 : phenome.traits.length > 150 ? 4 : 5;
    // The significant ones last: on top.
    const drawn = Array.from(px.keys()).filter((t) => !Number.isNaN(py[t])).sort((a, b) => arrays.value[a] - arrays.value[b]);
    for (const t of drawn) {
      pen.fillStyle = colour(categoryOf[t]);
      pen.globalAlpha = arrays.value[t] >= data.threshold ? 1 : 0.6;
      triangle(pen, px[t], py[t], size, arrays.up[t]);
    }
    pen.globalAlpha = 1;

    pen.lineWidth = 1;
    pen.strokeStyle = colours.limit;
    pen.setLineDash([6, 4]);
    line(pen, box.left, place(data.threshold), box.right, place(data.threshold));
    if (data.discovery !== null && data.discovery < data.threshold) {
      pen.strokeStyle = colours.suggest;
      pen.setLineDash([1, 4]);
      line(pen, box.left, place(data.discovery), box.right, place(data.discovery));
    }
    pen.setLineDash([]);
    edges(draw, box);
    labels(draw, box, data, arrays, px, py, size);

    canvas.setAttribute("aria-label", `Phenome-wide plot of ${data.name}: ${data.tested} traits, largest −log10 p ${highest.toFixed(2)}`);
    canvas.hit = (x, y) => {
      const near = nearest(px, py, x, y, 10);
      return near < 0 ? null : { x: px[near], y: py[near], text: traitText(data, arrays, near) };
    };
  }

  function categoryLabel(draw, box, name, k, x) {
    const { pen } = draw;
    pen.save();
    pen.translate(x + 4, box.bottom + 8);
    pen.rotate(-Math.PI / 4);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.fillStyle = colour(k);
    pen.fillText(shorten(name, 22), 0, 0);
    pen.restore();
  }

  function labels(draw, box, data, arrays, px, py, size) {
    const { pen, colours } = draw;
    const taken = [];
    // Names must not hide other significant traits either.
    data.table.trait.slice(0, 60).forEach((t) => taken.push({ left: px[t] - size, right: px[t] + size, top: py[t] - size, bottom: py[t] + size, own: t }));
    pen.textBaseline = "alphabetic";
    let written = 0;
    for (const t of data.table.trait) {
      if (written >= LABELS || arrays.value[t] < Math.min(data.threshold, data.discovery ?? Infinity)) break;
      const text = shorten(named(t), 30);
      const wide = pen.measureText(text).width;
      const left = Math.min(Math.max(px[t] - wide / 2, box.left + 3), box.right - wide);
      const spots = [[left, py[t] - size - 5], [px[t] + size + 4, py[t] + 4], [px[t] - size - 4 - wide, py[t] + 4], [left, py[t] + size + 14]];
      const spot = spots.find(([x, y]) => {
        const area = { left: x - 2, right: x + wide + 2, top: y - 11, bottom: y + 3 };
        if (area.top < 0 || area.left < box.left || area.right > box.right + 8 || area.bottom > box.bottom) return false;
        return !taken.some((o) => o.own !== t && o.left < area.right && o.right > area.left && o.top < area.bottom && o.bottom > area.top);
      });
      if (!spot) continue;
      taken.push({ left: spot[0] - 2, right: spot[0] + wide + 2, top: spot[1] - 11, bottom: spot[1] + 3, own: NONE });
      pen.textAlign = "left";
      pen.lineWidth = 3;
      pen.strokeStyle = colours.page;
      pen.strokeText(text, ...spot);
      pen.fillStyle = colours.text;
      pen.fillText(text, ...spot);
      written++;
    }
  }

  function traitText(data, arrays, t) {
    const category = phenome.categories[categoryOf[t]];
    const lines = [shorten(named(t), 60)];
    if (phenome.labels[t] || category) lines.push([phenome.labels[t] ? phenome.traits[t] : "", category].filter(Boolean).join("  ·  "));
    const row = arrays.rowOf.get(t);
    if (row !== undefined) {
      const table = data.table;
      lines.push(`${phenome.binary[t] ? "odds ratio" : "beta"} ${estimate(t, table.beta[row], table.se[row])}`);
      if (phenome.binary[t]) lines.push(`cases ${count(table.cases[row])}, controls ${count(table.controls[row])}`);
      else if (table.n[row] !== NONE) lines.push(`N ${count(table.n[row])}`);
    } else lines.push(arrays.up[t] ? "positive effect" : "negative effect");
    lines.push(`−log10 p ${arrays.value[t].toFixed(2)}   p ${pText(arrays.value[t])}`);
    return lines.join("\n");
  }

  // ---- the forest of the most significant -------------------------------------------------------------

  function forestRows(data, binary) {
    const table = data.table;
    const rows = [];
    table.trait.forEach((t, i) => {
      if (rows.length >= FOREST || phenome.binary[t] !== binary || table.beta[i] === null || !(table.se[i] > 0)) return;
      // Quantitative traits have units of their own: shown per standard deviation.
      const sd = binary ? 1 : phenome.sd[t];
      if (sd) rows.push({ t, i, beta: table.beta[i] / sd, se: table.se[i] / sd });
    });
    return rows;
  }

  function forest(canvas, data, binary) {
    const rows = forestRows(data, binary);
    const draw = prepare(canvas, 22 * rows.length + 62);
    const { pen, width, height, colours } = draw;
    const names = rows.map((row) => shorten(named(row.t), width < 560 ? 24 : 44));
    const told = rows.map((row) => (binary ? oddsRatio(row.beta, row.se) : interval(row.beta, row.se)));
    const widest = (texts) => Math.max(...texts.map((text) => pen.measureText(text).width));
    const box = { left: widest(names) + 16, right: width - widest(told) - 20, top: 24, bottom: height - 38 };
    // An interval that would flatten the others is cut, with an arrow.
    const ends = rows.flatMap((row) => [row.beta - 1.96 * row.se, row.beta + 1.96 * row.se]);
    const reach = 2.5 * Math.max(...rows.map((row) => Math.abs(row.beta)));
    const low = Math.max(Math.min(0, ...ends), -reach);
    const high = Math.min(Math.max(0, ...ends), reach);
    const margin = (high - low) * 0.04;
    const across = (beta) => box.left + ((beta - low + margin) / (high - low + 2 * margin)) * (box.right - box.left);
    for (const tick of forestTicks(low, high, binary, across)) {
      const x = across(tick.at);
      pen.strokeStyle = tick.at === 0 ? colours.muted : colours.line;
      line(pen, x, box.top - 6, x, box.bottom);
      pen.fillStyle = colours.muted;
      pen.textAlign = "center";
      pen.textBaseline = "top";
      pen.fillText(tick.text, x, box.bottom + 5);
    }
    pen.fillStyle = colours.text;
    pen.textAlign = "center";
    pen.fillText(binary ? "Odds ratio (95 % CI)" : "Standard deviations of the trait (95 % CI)", (box.left + box.right) / 2, box.bottom + 21);
    rows.forEach((row, k) => {
      const y = box.top + 22 * k + 8;
      const from = Math.max(row.beta - 1.96 * row.se, low - margin);
      const to = Math.min(row.beta + 1.96 * row.se, high + margin);
      pen.strokeStyle = colour(categoryOf[row.t]);
      pen.fillStyle = pen.strokeStyle;
      pen.lineWidth = 1.6;
      line(pen, across(from), y, across(to), y);
      if (row.beta - 1.96 * row.se < from) arrow(pen, across(from), y, -1);
      if (row.beta + 1.96 * row.se > to) arrow(pen, across(to), y, 1);
      triangle(pen, across(row.beta), y, 4.5, row.beta >= 0);
      pen.textBaseline = "middle";
      pen.fillStyle = colours.text;
      pen.textAlign = "right";
      pen.fillText(names[k], box.left - 8, y);
      pen.textAlign = "left";
      pen.fillText(told[k], box.right + 12, y);
    });
    pen.lineWidth = 1;
    canvas.setAttribute("aria-label", `Effects of ${data.name} on its ${rows.length} most significant ${binary ? "binary" : "quantitative"} traits`);
  }

  function arrow(pen, x, y, side) {
    pen.beginPath();
    pen.moveTo(x + 5 * side, y);
    pen.lineTo(x - 2 * side, y - 4);
    pen.lineTo(x - 2 * side, y + 4);
    pen.closePath();
    pen.fill();
  }

  const TICK = 42; // pixels between two

  function forestTicks(low, high, binary, across) {
    if (!binary) {
      const rough = ((high - low) / (across(high) - across(low))) * 1.6 * TICK;
      const power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
      const found = [];
      for (let k = Math.ceil(low / step); k * step <= high; k++) found.push({ at: k * step, text: String(Number((k * step).toPrecision(6))) });
      return found;
    }
    const ladders = [[1], [0.0001, 0.01, 1, 100, 10000], [0.001, 0.01, 0.1, 1, 10, 100, 1000], [0.1, 0.2, 0.5, 1, 2, 5, 10], [0.25, 0.33, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 4], [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2],
      [0.9, 0.92, 0.94, 0.96, 0.98, 1, 1.02, 1.04, 1.06, 1.08, 1.1]];
    const within = ladders.map((ladder) => ladder.filter((ratio) => Math.log(ratio) >= low - 1e-9 && Math.log(ratio) <= high + 1e-9));
    const apart = (ladder) => ladder.every((ratio, k) => k === 0 || across(Math.log(ratio)) - across(Math.log(ladder[k - 1])) >= TICK);
    const fitting = within.filter(apart);
    const best = fitting.reduce((a, b) => (b.length > a.length ? b : a), [1]);
    return best.map((ratio) => ({ at: Math.log(ratio), text: String(ratio) }));
  }

  // ---- the table --------------------------------------------------------------------------------------

  function traitTable(data) {
    const table = data.table;
    const some = (name) => table[name].some((value) => value !== NONE && value !== null && value !== "");
    const labelled = phenome.labels.some((label) => label !== "");
    const grouped = phenome.categories.some((name) => name !== "");
    const anyBinary = table.trait.some((t) => phenome.binary[t]);
    const anyOther = table.trait.some((t) => !phenome.binary[t]);
    const columns = [["Trait", "", (i, t) => cell(named(t), "name")]];
    if (labelled) columns.push(["Code", "", (i, t) => cell(phenome.traits[t], "name")]);
    if (grouped) columns.push(["Category", "", (i, t) => cell(phenome.categories[categoryOf[t]], "name")]);
    if (anyBinary) columns.push(["Odds ratio (95 % CI)", "number", (i, t) => cell(phenome.binary[t] ? oddsRatio(table.beta[i], table.se[i]) : "", "number", phenome.binary[t] ? table.beta[i] : "")]);
    if (anyOther) columns.push(["Beta (95 % CI)", "number", (i, t) => cell(phenome.binary[t] ? "" : interval(table.beta[i], table.se[i]), "number", phenome.binary[t] ? "" : table.beta[i])]);
    columns.push(["−log10 p", "number", (i) => cell(table.p[i].toFixed(2), "number", table.p[i])]);
    columns.push(["p", "number", (i) => cell(pText(table.p[i]), "number", -table.p[i])]);
    columns.push(["q", "number", (i) => cell(pText(table.q[i]), "number", -table.q[i])]);
    if (table.status.some((status) => phenome.methods[status])) columns.push(["Method", "", (i) => cell(phenome.methods[table.status[i]] || "", "")]);
    for (const [name, head] of [["cases", "Cases"], ["controls", "Controls"], ["n", "N"], ["carriers", "Carriers"]]) {
      if (some(name)) columns.push([head, "number", (i) => cell(count(table[name][i]), "number", sortCount(table[name][i]))]);
    }
    if (some("frequency")) columns.push(["Effect freq.", "number", (i) => cell(table.frequency[i] === null ? "" : table.frequency[i].toPrecision(3), "number", table.frequency[i])]);
    if (some("note")) columns.push(["Remark", "", (i) => cell(table.note[i], "name")]);
    const body = element("tbody");
    table.trait.forEach((t, i) => body.append(element("tr", {}, ...columns.map(([, , make]) => make(i, t)))));
    const heads = columns.map(([head, kind]) => element("th", { scope: "col", class: kind }, head));
    const made = element("table", { class: "sortable" }, element("thead", {}, element("tr", {}, ...heads)), body);
    sortable(made);
    const around = element("div", { class: table.trait.length > 10 ? "scroll long" : "scroll" }, made);
    if (table.trait.length <= 12) return [around];
    const search = element("input", { type: "search", placeholder: "Filter by trait or category", "aria-label": "Filter the traits of the table" });
    const shown = element("span", { class: "muted small", "aria-live": "polite" }, `${table.trait.length} rows`);
    filtered(made, search, shown);
    return [element("div", { class: "bar screen" }, search, shown), around];
  }

  // ---- panels -----------------------------------------------------------------------------------------

  function facts(data) {
    const made = element("div", { class: "facts" });
    const say = (label, value) => made.append(made.childNodes.length ? "  ·  " : "", `${label} `, element("b", {}, value));
    say("effects per", data.per);
    say("traits tested", whole(data.tested));
    say("Bonferroni at p", pText(data.threshold));
    return made;
  }

  function make(number, close) {
    const data = read(`predictor-${number}-data`);
    const arrays = { value: typed(data.value, Float32Array), up: bytes(data.up), rowOf: new Map(data.table.trait.map((t, i) => [t, i])) };
    const article = element("article", { id: `predictor-${number}` }, element("header", {}, element("h3", { class: "trait" }, data.title), facts(data), close));
    const drawings = [];
    if (data.tested) {
      const main = element("canvas", { role: "img" });
      article.append(figure(main, "One triangle a trait; it points up where the effect is positive. Red: Bonferroni; dotted: false discovery rate."));
      drawings.push(["phewas", main, () => plot(main, data, arrays)]);
      for (const binary of [true, false]) {
        if (!forestRows(data, binary).length) continue;
        const canvas = element("canvas", { role: "img" });
        article.append(element("h4", {}, binary ? "Most significant binary traits" : "Most significant quantitative traits"), figure(canvas, ""));
        drawings.push([binary ? "odds-ratios" : "effects", canvas, () => forest(canvas, data, binary)]);
      }
      const save = element("button", { type: "button", class: "screen" }, "Save plots (PNG)");
      save.addEventListener("click", () => drawings.forEach(([kind, canvas]) => {
        element("a", { href: canvas.toDataURL("image/png"), download: `${data.name.replace(/[^\w.-]+/g, "_")}.${kind}.png` }).click();
      }));
      close.before(save);
      const rows = data.table.trait.length;
      article.append(element("h4", {}, rows < data.tested ? `The ${whole(rows)} most significant of ${whole(data.tested)} traits` : "All traits tested"), ...traitTable(data));
    } else article.append(element("p", {}, "No trait has a result."));
    article.append(element("h4", {}, "Traits by status"), plainTable(["Status", "Traits"], Object.entries(data.status).map(([name, traits]) =>
      element("tr", {}, element("td", { class: "long" }, phenome.status[name] || name), cell(whole(traits))))));
    return { article, title: data.title, redraw: () => drawings.forEach(([, , again]) => again()) };
  }

  panels({
    index: document.getElementById("predictors"),
    places: document.getElementById("phewas-panels"),
    key: "predictor", anchor: "predictor", data: (number) => `predictor-${number}-data`, make,
  }).begin(phenome.opened);
})();
