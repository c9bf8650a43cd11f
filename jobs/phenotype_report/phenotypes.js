// What is told of each trait of a trait table, and how traits go together.
(() => {
  const { redraws, read, element, whole, prepare, line, shorten, figure, cell, plainTable, filtered, panels } = common;
  const all = read("common");
  const byId = (id) => document.getElementById(id);
  const index = byId("index");
  const UNTOLD = "–";

  const short = (value) => {
    if (value === null || value === undefined) return UNTOLD;
    const size = Math.abs(value);
    return size !== 0 && (size >= 1e6 || size < 1e-3) ? value.toExponential(2) : Number(value.toPrecision(4)).toLocaleString("en-US", { maximumSignificantDigits: 4 });
  };
  const percent = (share) => (share === null ? UNTOLD : share < 0.1 ? `${Number((100 * share).toPrecision(2))} %` : `${(100 * share).toFixed(1)} %`);
  const count = (value) => (value === null || value === undefined ? UNTOLD : whole(value));
  const spread = (q) => (q ? `${short(q[1])} (${short(q[0])} to ${short(q[2])})` : UNTOLD);
  const part = (title, ...content) => element("div", {}, element("h4", {}, title), ...content);
  const row = (...cells) => element("tr", {}, ...cells);

  // ---- one trait --------------------------------------------------------------------------------------

  function facts(data) {
    const made = element("div", { class: "facts" });
    const say = (label, value) => made.append(made.childNodes.length ? "  ·  " : "", `${label} `, element("b", {}, value));
    say("N", data.n);
    if (data.kind === "binary") {
      say("cases", data.cases);
      say("controls", data.controls);
      say("prevalence", percent(data.prevalence));
    }
    say("missing", percent(data.missing));
    if (data.category) say("category", data.category);
    if (data.sex !== "both") say("only", data.sex === "male" ? "men" : "women");
    if (data.units) say("unit", data.units);
    if (data.transform !== "none") say("a job transforms it by", data.transform.replaceAll("_", " "));
    return made;
  }

  function steps(data) {
    return part("From everybody to the trait", plainTable(["Step", "People"], data.steps.map(([what, people, kind]) =>
      row(cell(kind === "count" ? `of these: ${what}` : what, "long step"), cell(people)))));
  }

  function compared(data) {
    const rows = data.compared.map(([cases, controls], k) => row(cell(all.measures[k], "level"), cell(spread(cases)), cell(spread(controls))));
    return part("Cases and controls: median (quartiles)", plainTable(["", "Cases", "Controls"], rows));
  }

  function bar(share) {
    const made = element("td", { class: "share" });
    if (share !== null) {
      const mark = element("i");
      mark.style.width = `${100 * share}%`;
      made.append(mark);
    }
    return made;
  }

  function prevalences(data, k) {
    const classes = all.classes[k];
    // Where N is hidden because nearly nobody is missing, the share is that of everybody, as above.
    const ofAll = data.n.startsWith("≥");
    const shares = data.classes[k].map((told, at) => {
      if (!told || told[1] === null) return null;
      const n = told[0] ?? (ofAll ? classes.people[at] : null);
      return n ? told[1] / n : null;
    });
    const most = Math.max(...shares.filter((share) => share !== null), 1e-12);
    return plainTable([classes.title, "People", "N", "Cases", "Prevalence", ""], classes.labels.map((label, at) => {
      const told = data.classes[k][at] || [null, null];
      return row(cell(label, "level"), cell(count(classes.people[at])), cell(count(told[0])), cell(count(told[1])), cell(percent(shares[at])), bar(shares[at] === null ? null : shares[at] / most));
    }));
  }

  // Quartiles as a box on an axis that the classes share.
  function box(q, low, high) {
    const made = element("td", { class: "share" });
    if (!q || high <= low) return made;
    const at = (value) => 100 * ((value - low) / (high - low));
    const space = "http://www.w3.org/2000/svg";
    const drawing = document.createElementNS(space, "svg");
    drawing.setAttribute("aria-hidden", "true");
    const shape = (x, y, width, height, fill) => {
      const made = document.createElementNS(space, "rect");
      for (const [key, value] of Object.entries({ x: `${x}%`, y, width, height, fill })) made.setAttribute(key, value);
      drawing.append(made);
    };
    shape(at(q[0]), 2, `${Math.max(at(q[2]) - at(q[0]), 0.5)}%`, 10, "var(--bar)");
    shape(at(q[1]), 0, "2px", 14, "var(--text)");
    made.append(drawing);
    return made;
  }

  function spreads(data, k) {
    const classes = all.classes[k];
    const told = data.spread[k].filter((q) => q);
    const [low, high] = [Math.min(...told.map((q) => q[0])), Math.max(...told.map((q) => q[2]))];
    return plainTable([classes.title, "People", "N", "Median (quartiles)", ""], classes.labels.map((label, at) =>
      row(cell(label, "level"), cell(count(classes.people[at])), cell(count(data.classes[k][at]?.[0])), cell(spread(data.spread[k][at])), box(data.spread[k][at], low, high))));
  }

  function summary(data) {
    const found = data.summary;
    const rows = [["Mean", short(found.mean)], ["Standard deviation", short(found.sd)],
      ...found.quantiles.map(([share, value]) => [share === 0.5 ? "Median" : `${100 * share} % are below`, short(value)])];
    return part("Distribution", plainTable(["", data.units || "Value"], rows.map(([what, value]) => row(cell(what, "long"), cell(value)))));
  }

  function histogram(canvas, data) {
    const draw = prepare(canvas, 220);
    const { pen, width, height, colours } = draw;
    const area = { left: 58, right: width - 10, top: 10, bottom: height - 40 };
    const { edges, counts } = data.histogram;
    // The outer bins are open: they are drawn as wide as the narrowest of the others.
    const widths = edges.slice(1).map((edge, k) => edge - edges[k]);
    const step = widths.length ? Math.min(...widths) : 1;
    const bounds = [edges[0] - step, ...edges, edges[edges.length - 1] + step];
    const heights = counts.map((n, k) => n / ((bounds[k + 1] - bounds[k]) / step));
    const top = Math.max(...heights) * 1.06 || 1;
    const x = (value) => area.left + ((value - bounds[0]) / (bounds[bounds.length - 1] - bounds[0])) * (area.right - area.left);
    const y = (value) => area.bottom - (value / top) * (area.bottom - area.top);
    const every = [1, 2, 5].flatMap((m) => [0, 1, 2, 3, 4, 5, 6, 7].map((e) => m * 10 ** e)).sort((a, b) => a - b).find((s) => top / s <= 5) || top;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (let tick = 0; tick <= top; tick += every) {
      pen.strokeStyle = colours.line;
      line(pen, area.left, y(tick), area.right, y(tick));
      pen.fillStyle = colours.muted;
      pen.fillText(whole(tick), area.left - 7, y(tick));
    }
    const fill = getComputedStyle(document.documentElement).getPropertyValue("--bar").trim();
    counts.forEach((n, k) => {
      const outer = k === 0 || k === counts.length - 1;
      pen.fillStyle = fill;
      pen.globalAlpha = outer ? 0.55 : 1;
      pen.fillRect(x(bounds[k]) + 0.5, y(heights[k]), Math.max(x(bounds[k + 1]) - x(bounds[k]) - 1, 1), area.bottom - y(heights[k]));
    });
    pen.globalAlpha = 1;
    pen.fillStyle = colours.muted;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    // Whole numbers stand below their bars, other edges between them.
    const last = edges.length;
    const range = (k) => {
      const [from, to] = data.histogram.whole ? [edges[k - 1] + 0.5, edges[k] - 0.5] : [edges[k - 1], edges[k]];
      return k === 0 ? `below ${short(edges[0] + (data.histogram.whole ? 0.5 : 0))}` : k === last ? `${short(from)} and more` : from === to ? short(from) : `${short(from)} to ${short(to)}`;
    };
    const marks = data.histogram.whole
      ? counts.map((_, k) => [(bounds[k] + bounds[k + 1]) / 2, k === 0 ? `<${short(edges[0] + 0.5)}` : k === last ? `≥${short(edges[last - 1] + 0.5)}` : range(k)])
      : edges.map((edge) => [edge, short(edge)]);
    let free = -Infinity;
    for (const [at, text] of marks) {
      const half = pen.measureText(text).width / 2;
      if (x(at) - half < free + 10) continue;
      pen.fillText(text, x(at), area.bottom + 6);
      free = x(at) + half;
    }
    pen.fillStyle = colours.text;
    pen.fillText(data.units || "value", (area.left + area.right) / 2, area.bottom + 22);
    pen.strokeStyle = colours.strong;
    line(pen, area.left, area.bottom, area.right, area.bottom);
    canvas.setAttribute("aria-label", `Histogram of ${data.name}`);
    canvas.hit = (px, py) => {
      const k = counts.findIndex((_, at) => px >= x(bounds[at]) && px < x(bounds[at + 1]));
      if (k < 0 || py > area.bottom) return null;
      return { x: px, y: py, text: `${range(k)}\n${data.histogram.rounded ? "about " : ""}${whole(counts[k])} people` };
    };
  }

  function recipe(data) {
    const list = element("dl", { class: "recipe" });
    for (const [what, value] of data.recipe) list.append(element("dt", {}, what), element("dd", {}, value));
    return element("details", {}, element("summary", { class: "small" }, "What it is made of"), list);
  }

  function make(number, close) {
    const data = read(`panel-${number}`);
    const title = data.label ? `${data.name} – ${data.label}` : data.name;
    const article = element("article", { id: `trait-${number}` }, element("header", {}, element("h3", { class: "trait" }, title), facts(data), close));
    for (const note of data.notes) article.append(element("p", { class: "small" }, note));
    const panel = { article, title: data.name, redraw: () => {} };
    const binary = data.kind === "binary";
    if (data.histogram) {
      const canvas = element("canvas", { role: "img" });
      const rounded = data.histogram.rounded ? " Counts are rounded down to multiples of 20." : "";
      article.append(figure(canvas, `People by value. The outer bars, paler, are open to the outside; a bar may stand for several bins.${rounded}`));
      panel.redraw = () => histogram(canvas, data);
    }
    const first = element("div", { class: "columns" }, steps(data));
    if (binary && all.measures.length) first.append(compared(data));
    if (!binary && data.summary) first.append(summary(data));
    article.append(first);
    const sides = [element("div"), element("div")];
    all.classes.forEach((classes, k) => sides[k % 2].append(part(`By ${classes.title.split(",")[0].toLowerCase()}`, binary ? prevalences(data, k) : spreads(data, k))));
    article.append(element("div", { class: "columns" }, ...sides), recipe(data));
    return panel;
  }

  // ---- correlations -----------------------------------------------------------------------------------

  const UNDEFINED = 102;

  function heat(canvas) {
    const related = all.related;
    const t = related.traits.length;
    const order = byId("order").value === "similar" ? related.order : [...related.traits.keys()];
    const names = order.map((k) => all.traits[related.traits[k]]);
    const named = t <= 45;
    const margin = named ? 108 : 10;
    const side = Math.max(Math.min(canvas.clientWidth - margin - 8, 640), 150);
    const size = side / t;
    const draw = prepare(canvas, side + (named ? 12 : 16));
    const { pen, colours } = draw;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const [plus, minus, untold] = ["--plus", "--minus", "--untold"].map(colour);
    const value = (i, j) => {
      const [a, b] = order[i] > order[j] ? [order[i], order[j]] : [order[j], order[i]];
      return related.r[a][b];
    };
    const left = margin;
    const top = 6;
    const gap = size > 6 ? 0.5 : 0;
    for (let i = 0; i < t; i++) {
      for (let j = 0; j < t; j++) {
        const r = value(i, j);
        pen.globalAlpha = r > 100 ? (r === UNDEFINED ? 0.4 : 1) : Math.min(1, Math.sqrt(Math.abs(r) / 100));
        pen.fillStyle = r > 100 ? untold : r < 0 ? minus : plus;
        pen.fillRect(left + j * size, top + i * size, size - gap, size - gap);
      }
    }
    pen.globalAlpha = 1;
    if (named) {
      pen.font = pen.font.replace("12px", `${Math.min(12, Math.max(size - 1, 8))}px`);
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      pen.fillStyle = colours.text;
      names.forEach(([name], i) => pen.fillText(shorten(name, 15), left - 6, top + (i + 0.5) * size));
    }
    pen.strokeStyle = colours.strong;
    pen.strokeRect(left - 0.5, top - 0.5, side + 1, side + 1);
    canvas.setAttribute("aria-label", `Correlations of ${t} traits`);
    canvas.hit = (x, y) => {
      const [j, i] = [Math.floor((x - left) / size), Math.floor((y - top) / size)];
      if (i < 0 || j < 0 || i >= t || j >= t) return null;
      const r = value(i, j);
      const text = r === UNDEFINED ? "not defined: one of them does not vary" : r > 100 ? "not told: a count behind it is small" : `r ${(r / 100).toFixed(2).replace("-", "−")}`;
      return { x, y, text: [...[i, j].map((k) => shorten(names[k].slice(0, 2).join("  "), 60)), text].join("\n") };
    };
  }

  // ---- start ------------------------------------------------------------------------------------------

  const traits = panels({
    index, places: byId("panels"), key: "panel", anchor: "trait", data: (number) => `panel-${number}`, make,
    changed: (opened) => {
      byId("controls").hidden = opened === 0;
      byId("hint").hidden = opened > 0;
    },
  });
  if (byId("filter")) filtered(index, byId("filter"), byId("shown"));
  byId("closeall").addEventListener("click", traits.closeAll);
  if (all.related) {
    const canvas = element("canvas", { role: "img" });
    byId("heat").append(figure(canvas, "Orange: positive, blue: negative, the stronger the deeper; grey: not told. Point at a cell for its traits."));
    byId("order").addEventListener("change", () => heat(canvas));
    redraws.push(() => heat(canvas));
    heat(canvas);
  }
  traits.begin(all.open ? [0] : []);
})();
