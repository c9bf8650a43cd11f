// Manhattan and quantile–quantile plots, and tables of lead variants, of each trait.
const gwas = (() => {
  const {
    scale, read, bytes, typed, element, whole, pText, effect, oddsRatio, scaled, unscaled, prepare, verticalAxis,
    line, dots, edges, quantilePlot, inside, shorten, nearest, figure, cell, plainTable, sortable, filtered, panels,
  } = common;
  const axis = read("axis");
  scale.limit = axis.linear_limit;
  const byId = (id) => document.getElementById(id);
  const index = byId("index");

  const alleles = (code) => {
    if (code < 16) return ` ${"ACGT"[code >> 2]}>${"ACGT"[code & 3]}`;
    return [" insertion", " deletion", ""][code - 16];
  };

  function contigLabels(draw, box, across) {
    const { pen, colours } = draw;
    pen.fillStyle = colours.muted;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    if (axis.names.length === 1) {
      const [first, last] = [axis.first[0], axis.last[0]];
      const unit = last - first > 2e6 ? [1e6, "Mb"] : last - first > 2e3 ? [1e3, "kb"] : [1, "bp"];
      const rough = (last - first) / unit[0] / Math.max(Math.floor((box.right - box.left) / 110), 1);
      const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-9)));
      const step = Math.max([1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) || 1, unit[0] === 1 ? 1 : 0);
      for (let k = Math.ceil(first / unit[0] / step); k * step <= last / unit[0]; k++) {
        const share = last > first ? (k * step * unit[0] - first) / (last - first) : 0.5;
        const x = across(axis.offset[0] + share * axis.width[0]);
        pen.strokeStyle = colours.strong;
        line(pen, x, box.bottom, x, box.bottom + 4);
        pen.fillText(whole(Number((k * step).toPrecision(10))), x, box.bottom + 6);
      }
      pen.fillStyle = colours.text;
      pen.fillText(`Position on ${named(axis.names[0])} (${unit[1]})`, (box.left + box.right) / 2, box.bottom + 22);
      return;
    }
    let free = -Infinity;
    axis.names.forEach((name, k) => {
      const label = name.replace(/^chr/i, "");
      const x = across(axis.offset[k] + axis.width[k] / 2);
      const half = pen.measureText(label).width / 2;
      if (x - half < free + 3) return;
      pen.fillText(label, x, box.bottom + 6);
      free = x + half;
    });
    pen.fillStyle = colours.text;
    const human = axis.names.every((name) => /^(chr)?(\d+|X|Y|XY|MT?|PAR\d)$/i.test(name));
    pen.fillText(human ? "Chromosome" : "Contig", (box.left + box.right) / 2, box.bottom + 22);
  }

  const named = (contig) => (/^(chr)?(\d+|X|Y|MT?)$/i.test(contig) ? `chromosome ${contig.replace(/^chr/i, "")}` : contig);

  function decode(data) {
    const points = data.points;
    const position = typed(points.position, Uint32Array);
    const value = Float64Array.from(typed(points.value, Uint16Array), (q) => (q / 65535) * points.height);
    const contig = new Uint16Array(position.length);
    points.contigs.reduce((start, count, k) => contig.fill(k, start, start + count) && start + count, 0);
    const share = Float64Array.from(position, (p, i) => axisShare(contig[i], p));
    const qq = (of) => {
      const rank = typed(of.rank, Uint32Array);
      return { n: of.n, rank, expected: expected(rank, of.n), value: typed(of.value, Float32Array) };
    };
    const bandRank = typed(data.band.rank, Uint32Array);
    return {
      position, value, contig, share, allele: bytes(points.allele), bits: bytes(data.grid.bits), qq: qq(data.qq),
      band: { expected: expected(bandRank, data.tested), low: typed(data.band.low, Float32Array), high: typed(data.band.high, Float32Array) },
      bins: data.bins.map((bin) => qq(bin.qq)),
    };
  }

  const expected = (rank, n) => Float64Array.from(rank, (r) => -Math.log10(r / (n + 1)));

  function axisShare(contig, position) {
    const span = axis.last[contig] - axis.first[contig];
    const within = span > 0 ? (position - axis.first[contig]) / span : 0.5;
    return axis.offset[contig] + axis.width[contig] * within;
  }

  // Top of the vertical axis that shows all of some panels.
  const topOf = (...of) => {
    const most = Math.max(...of.map((data) => data.top ?? 0));
    return Math.max(axis.significance * 1.12, most * (most > scale.limit && !scale.linear ? 1.25 : 1.08));
  };

  // Upside down, it goes below another one: the places of the contigs are written once.
  function manhattan(canvas, data, arrays, { tall = 350, top = topOf(data), down = false, labelled = true } = {}) {
    const draw = prepare(canvas, tall);
    const { pen, width, height, colours } = draw;
    const box = { left: 52, right: width - 8, top: 12, bottom: height - 42 };
    if (down) [box.top, box.bottom] = [height - 12, 6];
    const place = verticalAxis(draw, box, top, "Observed");
    const across = inside(box);
    if (!down) contigLabels(draw, box, across);

    const grid = data.grid;
    for (let row = 0; row < grid.rows; row++) {
      const y = place(unscaled((row + 0.5) / grid.per_unit));
      for (let column = 0; column < grid.columns; ) {
        const bit = row * grid.columns + column;
        if (!(arrays.bits[bit >> 3] & (128 >> (bit & 7)))) {
          column++;
          continue;
        }
        // A run of filled cells of one contig is one bar.
        const contig = contigAt((column + 0.5) / grid.columns);
        let end = column + 1;
        while (end < grid.columns) {
          const next = row * grid.columns + end;
          if (!(arrays.bits[next >> 3] & (128 >> (next & 7))) || contigAt((end + 0.5) / grid.columns) !== contig) break;
          end++;
        }
        pen.fillStyle = contig % 2 ? colours.odd : colours.even;
        pen.beginPath();
        const x = across(column / grid.columns) - 0.6;
        const wide = across(end / grid.columns) + 0.6 - x;
        if (pen.roundRect) pen.roundRect(x, y - 1.5, wide, 3, 1.4);
        else pen.rect(x, y - 1.5, wide, 3);
        pen.fill();
        column = end;
      }
    }

    const n = arrays.position.length;
    const px = Float64Array.from(arrays.share, across);
    const py = Float64Array.from(arrays.value, place);
    const radius = n > 4000 ? 1.5 : n > 200 ? 1.8 : 2.6;
    for (const parity of [0, 1]) {
      pen.fillStyle = parity ? colours.odd : colours.even;
      const chosen = Array.from(px.keys()).filter((i) => arrays.contig[i] % 2 === parity);
      dots(pen, chosen.map((i) => px[i]), chosen.map((i) => py[i]), radius);
    }

    pen.lineWidth = 1;
    pen.strokeStyle = colours.limit;
    pen.setLineDash([6, 4]);
    line(pen, box.left, place(axis.significance), box.right, place(axis.significance));
    pen.strokeStyle = colours.suggest;
    pen.setLineDash([1, 4]);
    line(pen, box.left, place(5), box.right, place(5));
    pen.setLineDash([]);
    edges(draw, box);
    if (data.significant) labels(draw, box, data, place, across, labelled, down ? -1 : 1);

    canvas.setAttribute("aria-label", `Manhattan plot of ${data.trait}: ${data.tested} variants, ${data.n_leads} lead variants, largest −log10 p ${data.top.toFixed(2)}`);
    canvas.hit = (x, y) => {
      const near = nearest(px, py, x, y, 9);
      if (near >= 0) return { x: px[near], y: py[near], text: variantText(data, arrays, near) };
      const column = Math.floor(((x - across(0)) / (across(1) - across(0))) * grid.columns);
      const level = ((box.bottom - y) / (box.bottom - box.top)) * scaled(top);
      const value = scale.linear ? level : unscaled(level);
      const row = Math.floor((value <= scale.limit ? value : scale.limit * (1 + Math.log10(value / scale.limit))) * grid.per_unit);
      const bit = row * grid.columns + column;
      if (row < 0 || row >= grid.rows || column < 0 || column >= grid.columns) return null;
      if (!(arrays.bits[bit >> 3] & (128 >> (bit & 7)))) return null;
      const contig = contigAt((column + 0.5) / grid.columns);
      const share = ((column + 0.5) / grid.columns - axis.offset[contig]) / axis.width[contig];
      const about = (axis.first[contig] + share * (axis.last[contig] - axis.first[contig])) / 1e6;
      return { x, y, text: `variants near ${axis.names[contig]}:${about.toFixed(1)} Mb\n−log10 p about ${value.toFixed(1)}` };
    };
  }

  function labels(draw, box, data, place, across, labelled, up) {
    const { pen, colours } = draw;
    const table = data.leads;
    const taken = [];
    pen.textBaseline = "alphabetic";
    table.position.forEach((position, i) => {
      const contig = axis.names.indexOf(table.contig[i]);
      const x = across(axisShare(contig, position));
      const y = place(table.neg_log10_p[i]);
      pen.fillStyle = colours.lead;
      pen.strokeStyle = colours.page;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x, y - 5);
      pen.lineTo(x + 4.5, y);
      pen.lineTo(x, y + 5);
      pen.lineTo(x - 4.5, y);
      pen.closePath();
      pen.fill();
      pen.stroke();
      if (i >= 15 || !labelled) return;
      const text = shorten(leadName(table, i), 18);
      const half = pen.measureText(text).width / 2;
      const at = Math.min(Math.max(x, box.left + half + 3), box.right - half - 2);
      const base = up > 0 ? y - 9 : y + 18;
      const area = { left: at - half - 3, right: at + half + 3, top: base - 12, bottom: base + 3 };
      if (area.top < 0 || area.bottom > draw.height || taken.some((o) => o.left < area.right && o.right > area.left && o.top < area.bottom && o.bottom > area.top)) return;
      taken.push(area);
      pen.textAlign = "center";
      pen.lineWidth = 3;
      pen.strokeText(text, at, base);
      pen.fillStyle = colours.text;
      pen.fillText(text, at, base);
    });
  }

  function contigAt(share) {
    let low = 0;
    let high = axis.names.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (axis.offset[middle] <= share) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  function leadName(table, i) {
    if (table.id[i] && table.id[i] !== ".") return table.id[i];
    return `${table.contig[i]}:${table.position[i]}:${table.ref[i]}:${table.alt[i]}`;
  }

  function variantText(data, arrays, i) {
    const contig = axis.names[arrays.contig[i]];
    const table = data.leads;
    const row = table.position.findIndex(
      (p, k) => p === arrays.position[i] && table.contig[k] === contig && Math.abs(table.neg_log10_p[k] - arrays.value[i]) < 1e-4 * data.points.height,
    );
    const lines = [`${contig}:${whole(arrays.position[i])}${alleles(arrays.allele[i])}`];
    if (row >= 0) {
      lines.unshift(shorten(leadName(table, row), 40));
      if (data.cases && table.beta && table.beta[row] !== null) lines.push(`odds ratio ${oddsRatio(table.beta[row], table.standard_error[row])} per ${shorten(table.alt[row], 12)}`);
      else if (table.beta && table.beta[row] !== null) lines.push(`beta ${effect(table.beta[row])} (SE ${effect(table.standard_error[row])}) per ${shorten(table.alt[row], 12)}`);
    }
    lines.push(`−log10 p ${arrays.value[i].toFixed(2)}   p ${pText(arrays.value[i])}`);
    return lines.join("\n");
  }

  function quantiles(canvas, data, arrays) {
    let px, py;
    quantilePlot(canvas, 350, { tested: data.tested, most: data.top, band: arrays.band }, ({ pen, colours }, across, place) => {
      arrays.bins.forEach((bin, k) => {
        if (data.bins[k].inflation === null) return;
        pen.strokeStyle = colours[`bin${k}`];
        pen.lineWidth = 1.6;
        pen.beginPath();
        for (let i = 0; i < bin.rank.length; i++) pen.lineTo(across(bin.expected[i]), place(bin.value[i]));
        pen.stroke();
      });
      px = Float64Array.from(arrays.qq.expected, across);
      py = Float64Array.from(arrays.qq.value, place);
      pen.fillStyle = colours.text;
      dots(pen, px, py, 2);
    });
    canvas.setAttribute("aria-label", `Quantile–quantile plot of ${data.trait}: λ ${data.inflation.toFixed(3)}`);
    canvas.hit = (x, y) => {
      const near = nearest(px, py, x, y, 9);
      if (near < 0) return null;
      const text = `rank ${whole(arrays.qq.rank[near])} of ${whole(data.tested)}\nexpected ${arrays.qq.expected[near].toFixed(2)}, observed ${arrays.qq.value[near].toFixed(2)}`;
      return { x: px[near], y: py[near], text };
    };
  }

  // ---- panels -----------------------------------------------------------------------------------------

  function leadTable(data) {
    const table = data.leads;
    const own = (data.meta ? axis.meta_columns : axis.columns).filter((column) => column.name !== "neg_log10_p" && table[column.name]);
    const withInfo = table.info.some((value) => value !== null);
    const heads = ["Variant", "Position", "Effect allele", "Other allele"];
    const effects = own.map((c) => c.label);
    const p = ["−log10 p", "p"];
    // What is wider than the page is scrolled to: the effect and p come first where there is more to tell.
    if (data.cases) heads.push("Odds ratio (95 % CI)", ...p, "Method", "Effect freq.", "In cases", "In controls", "N", "Cases", ...effects);
    else heads.push("Effect freq.", ...effects, ...p, "N");
    if (withInfo) heads.push("Info");
    heads.push("Clumped");
    const body = element("tbody");
    table.position.forEach((position, i) => {
      const y = table.neg_log10_p[i];
      const share = (name) => cell(table[name][i] === null ? "" : table[name][i].toPrecision(3), "number", table[name][i]);
      const ofEffects = () => own.map((column) => cell(effect(table[column.name][i]), "number", table[column.name][i]));
      const ofOdds = () => cell(oddsRatio(table.beta[i], table.standard_error[i]), "number", table.beta[i]);
      const ofP = () => [cell(y.toFixed(2), "number", y), cell(pText(y), "number", -y)];
      const frequency = share("effect_allele_frequency");
      const n = cell(whole(table.n[i] ?? 0), "number", table.n[i]);
      const row = element("tr", {},
        cell(leadName(table, i), "name"),
        cell(`${table.contig[i]}:${whole(position)}`, "number", axis.names.indexOf(table.contig[i]) * 1e10 + position),
        cell(table.alt[i], "allele"), cell(table.ref[i], "allele"),
        ...(data.cases
          ? [ofOdds(), ...ofP(), cell(axis.methods[table.status[i]] || "", ""), frequency,
            share("effect_allele_frequency_cases"), share("effect_allele_frequency_controls"), n,
            cell(whole(table.cases[i]), "number", table.cases[i]), ...ofEffects()]
          : [frequency, ...ofEffects(), ...ofP(), n]));
      if (withInfo) row.append(cell(table.info[i] === null ? "" : table.info[i].toFixed(3), "number", table.info[i]));
      row.append(cell(whole(table.members[i]), "number", table.members[i]));
      body.append(row);
    });
    const left = (head) => ["Variant", "Effect allele", "Other allele", "Method"].includes(head);
    const headRow = element("tr", {}, ...heads.map((head) => element("th", { scope: "col", class: left(head) ? "" : "number" }, head)));
    const made = element("table", { class: "sortable" }, element("thead", {}, headRow), body);
    sortable(made);
    return element("div", { class: table.position.length > 10 ? "scroll long" : "scroll" }, made);
  }

  function side(data) {
    const made = element("div", { class: "columns" });
    if (data.tested) {
      made.append(element("div", {}, element("h4", {}, "λ by minor-allele frequency"), plainTable(["Frequency", "Variants", "λ"], data.bins.map((bin, k) => {
        const swatch = element("span", { class: "swatch" });
        swatch.style.borderColor = `var(--bin${k})`;
        return element("tr", {}, element("td", {}, swatch, bin.label), cell(whole(bin.tested)), cell(bin.inflation === null ? "–" : bin.inflation.toFixed(3)));
      }))));
    }
    made.append(element("div", {}, element("h4", {}, "Variants by status"), plainTable(["Status", "Variants"], Object.entries(data.status).map(([name, count]) =>
      element("tr", {}, element("td", { class: "long" }, (data.meta && axis.meta_status[name]) || axis.status[name] || name), cell(whole(count)))))));
    return made;
  }

  function facts(data) {
    const made = element("div", { class: "facts" });
    const say = (label, value) => made.append(made.childNodes.length ? "  ·  " : "", `${label} `, element("b", {}, value));
    say("N", data.n[0] === data.n[1] ? whole(data.n[1]) : `${whole(data.n[0])} to ${whole(data.n[1])}`);
    if (data.cases) {
      say("cases", whole(data.cases[0]));
      say("controls", whole(data.cases[1]));
    }
    say("variants tested", whole(data.tested));
    if (data.tested) {
      say("λ", data.inflation.toFixed(3));
      say("lead variants", whole(data.n_leads));
      say("significant variants", whole(data.n_significant));
    }
    return made;
  }

  function make(number, close) {
    const data = read(`panel-${number}`);
    const title = axis.strata ? `${data.trait} – ${data.stratum}` : data.trait;
    const article = element("article", { id: `trait-${number}` }, element("header", {}, element("h3", { class: "trait" }, title), facts(data), close));
    for (const note of data.notes) article.append(element("p", { class: "small" }, note));
    const panel = { article, title, redraw: () => {} };
    if (data.tested) {
      const arrays = decode(data);
      const first = element("canvas", { role: "img" });
      const second = element("canvas", { role: "img" });
      const save = element("button", { type: "button", class: "screen" }, "Save plots (PNG)");
      save.addEventListener("click", () => [["manhattan", first], ["qq", second]].forEach(([kind, canvas]) => {
        element("a", { href: canvas.toDataURL("image/png"), download: `${data.trait.replace(/[^\w.-]+/g, "_")}.${kind}.png` }).click();
      }));
      close.before(save);
      article.append(element("div", { class: "plots" }, figure(first, ""), figure(second, "")));
      panel.redraw = () => {
        manhattan(first, data, arrays);
        quantiles(second, data, arrays);
      };
      const rows = data.leads.position.length;
      const heading = data.significant
        ? `Lead variants, p ≤ ${axis.p_text}${rows < data.n_leads ? ` (the first ${rows} of ${whole(data.n_leads)})` : ""}`
        : `No variant reaches p ≤ ${axis.p_text}: top hits, not significant`;
      article.append(element("h4", {}, heading), leadTable(data), side(data));
    } else {
      article.append(element("p", {}, "No variant has a result for this trait."), side(data));
    }
    return panel;
  }

  // ---- start ------------------------------------------------------------------------------------------

  const traits = panels({
    index, places: byId("panels"), key: "panel", anchor: "trait", data: (number) => `panel-${number}`, make,
    changed: (opened) => {
      byId("controls").hidden = opened === 0;
      byId("hint").hidden = opened > 0;
    },
  });
  if (byId("filter")) filtered(index, byId("filter"), byId("shown"), byId("stratum"));
  byId("closeall").addEventListener("click", traits.closeAll);
  traits.begin(axis.opened);
  return { axis, decode, manhattan, topOf, alleles, leadName, showTrait: traits.show };
})();
