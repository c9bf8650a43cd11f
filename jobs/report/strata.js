// A trait across strata: everybody pooled, each group, and the meta-analysis of the groups.
(() => {
  const { scale, read, bytes, typed, element, whole, pText, effect, oddsRatio, scaled, unscaled, prepare, verticalAxis,
    logLabel, line, dots, edges, quantilePlot, shorten, nearest, figure, cell, plainTable, sortable, filtered, panels } = common;
  const { axis, decode, manhattan, topOf, leadName } = gwas;
  const byId = (id) => document.getElementById(id);
  const HIDDEN = -2;
  const COLOURS = 8;
  // Log odds above which the formula of power, which is that of small effects, is not exact enough to be told.
  const LARGE = Math.log(3);
  const FOUND = ["pooled and meta", "pooled only", "meta only", "single groups only"];
  const decoded = new Map();

  function panelOf(number) {
    if (number === null) return null;
    if (!decoded.has(number)) {
      const data = read(`panel-${number}`);
      decoded.set(number, { data, arrays: data.tested ? decode(data) : null });
    }
    return decoded.get(number);
  }

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colourOf = (k) => css(`--cat${k % COLOURS}`);
  const ofAll = () => css("--text");

  // ---- quantiles of all strata ------------------------------------------------------------------------

  function quantiles(canvas, lines) {
    // The band of the stratum with the most variants.
    const largest = lines.reduce((a, b) => (b.data.tested > a.data.tested ? b : a));
    const of = { tested: largest.data.tested, most: Math.max(...lines.map(({ data }) => data.top)), band: largest.arrays.band };
    const points = [];
    quantilePlot(canvas, 420, of, ({ pen }, across, place) => {
      for (const one of lines) {
        const { expected, value } = one.arrays.qq;
        pen.strokeStyle = one.colour();
        pen.setLineDash(one.dash);
        pen.lineWidth = one.wide;
        pen.beginPath();
        for (let i = 0; i < value.length; i++) {
          pen.lineTo(across(expected[i]), place(value[i]));
          points.push([across(expected[i]), place(value[i]), one, i]);
        }
        pen.stroke();
        // The most significant ones, which a line would hide.
        pen.setLineDash([]);
        pen.fillStyle = one.colour();
        const count = Math.min(value.length, 40);
        dots(pen, Array.from(expected.slice(0, count), across), Array.from(value.slice(0, count), place), 1.8);
      }
    });
    canvas.setAttribute("aria-label", `Quantile–quantile plots: ${lines.map((one) => `${one.name} λ ${one.data.inflation.toFixed(3)}`).join(", ")}`);
    const px = points.map((point) => point[0]);
    const py = points.map((point) => point[1]);
    canvas.hit = (x, y) => {
      const near = nearest(px, py, x, y, 9);
      if (near < 0) return null;
      const [, , one, i] = points[near];
      const text = `${one.name}, λ ${one.data.inflation.toFixed(3)}\nrank ${whole(one.arrays.qq.rank[i])} of ${whole(one.data.tested)}\nexpected ${one.arrays.qq.expected[i].toFixed(2)}, observed ${one.arrays.qq.value[i].toFixed(2)}`;
      return { x: px[near], y: py[near], text };
    };
  }

  function legend(lines) {
    return plainTable(["Analysis", "N", "Variants tested", "λ"], lines.map((one) => {
      const swatch = element("span", { class: "swatch" });
      swatch.style.borderColor = one.colour();
      if (one.dash.length) swatch.style.borderTopStyle = "dashed";
      return element("tr", {}, element("td", { class: "name" }, swatch, one.name), cell(whole(one.data.n[1])), cell(whole(one.data.tested)), cell(one.data.inflation.toFixed(3)));
    }));
  }

  // ---- pooled against meta ----------------------------------------------------------------------------

  function frame(draw, box, top, title) {
    const { pen, colours } = draw;
    const vertical = verticalAxis(draw, box, top, "Meta-analysis:");
    pen.textAlign = "center";
    pen.textBaseline = "top";
    const across = (y) => box.left + (scaled(y) / scaled(top)) * (box.right - box.left);
    const step = top > 20 && scale.linear ? Math.ceil(top / 60) * 10 : top > 4 ? 2 : 1;
    for (let k = 0; k <= (scale.linear ? top : Math.min(top, scale.limit)); k += step) {
      pen.fillStyle = colours.muted;
      pen.fillText(String(k), across(k), box.bottom + 6);
    }
    if (!scale.linear) {
      for (let decade = scale.limit; decade <= top; decade *= 10) {
        for (const m of [2, 5, 10]) if (decade * m <= top) pen.fillText(String(decade * m), across(decade * m), box.bottom + 6);
      }
    }
    logLabel(pen, title, (box.left + box.right) / 2, box.bottom + 22, colours.text);
    return { vertical, across };
  }

  function scatter(canvas, article) {
    const pairs = article.pairs;
    const first = typed(pairs.first, Float32Array);
    const second = typed(pairs.second, Float32Array);
    const draw = prepare(canvas, 360);
    const { pen, width, height, colours } = draw;
    const box = { left: 52, right: width - 10, top: 12, bottom: height - 42 };
    let most = axis.significance;
    for (let i = 0; i < first.length; i++) most = Math.max(most, first[i], second[i]);
    const top = most * (most > scale.limit && !scale.linear ? 1.25 : 1.1);
    const { vertical, across } = frame(draw, box, top, "Pooled:");
    pen.strokeStyle = colours.muted;
    pen.lineWidth = 1;
    line(pen, across(0), vertical(0), across(top), vertical(top));
    // Variants that are not drawn one by one: the cells that hold any.
    const bits = bytes(pairs.bits);
    pen.fillStyle = colours.even;
    for (let row = 0; row < pairs.size; row++) {
      for (let column = 0; column < pairs.size; column++) {
        const bit = row * pairs.size + column;
        if (!(bits[bit >> 3] & (128 >> (bit & 7)))) continue;
        const [x, y] = [across(unscaled((column + 0.5) / pairs.per_unit)), vertical(unscaled((row + 0.5) / pairs.per_unit))];
        pen.fillRect(x - 1.3, y - 1.3, 2.6, 2.6);
      }
    }
    const px = Array.from(first, across);
    const py = Array.from(second, vertical);
    pen.fillStyle = colours.even;
    dots(pen, px, py, 2);
    pen.strokeStyle = colours.limit;
    pen.setLineDash([6, 4]);
    line(pen, across(axis.significance), box.top, across(axis.significance), box.bottom);
    line(pen, box.left, vertical(axis.significance), box.right, vertical(axis.significance));
    pen.setLineDash([]);
    edges(draw, box);
    canvas.setAttribute("aria-label", `−log10 p of ${article.trait}, pooled against meta-analysis, of ${pairs.n} variants`);
    canvas.hit = (x, y) => {
      const near = nearest(px, py, x, y, 8);
      return near < 0 ? null : { x: px[near], y: py[near], text: `pooled −log10 p ${first[near].toFixed(2)}\nmeta-analysis −log10 p ${second[near].toFixed(2)}` };
    };
  }

  function effects(canvas, article) {
    const loci = article.loci;
    const rows = [];
    loci.position.forEach((_, i) => {
      const [a, sa, b, sb] = [loci.pooled.beta[i], loci.pooled.se[i], loci.meta.beta?.[i] ?? null, loci.meta.standard_error?.[i] ?? null];
      if (a !== null && b !== null) rows.push({ i, a, sa, b, sb });
    });
    const draw = prepare(canvas, 360);
    const { pen, width, height, colours } = draw;
    const box = { left: 62, right: width - 10, top: 12, bottom: height - 42 };
    const reach = Math.max(...rows.flatMap((row) => [Math.abs(row.a), Math.abs(row.b)]), 1e-9) * 1.35;
    const across = (v) => (box.left + box.right) / 2 + (v / reach) * ((box.right - box.left) / 2);
    const vertical = (v) => (box.top + box.bottom) / 2 - (v / reach) * ((box.bottom - box.top) / 2);
    const step = [1, 2, 5, 10].map((m) => m * 10 ** Math.floor(Math.log10(reach / 3))).find((s) => reach / s <= 4);
    pen.lineWidth = 1;
    for (let k = -Math.floor(reach / step); k * step <= reach; k++) {
      pen.strokeStyle = k === 0 ? colours.strong : colours.line;
      line(pen, across(k * step), box.top, across(k * step), box.bottom);
      line(pen, box.left, vertical(k * step), box.right, vertical(k * step));
      pen.fillStyle = colours.muted;
      const text = String(Number((k * step).toPrecision(4)));
      pen.textAlign = "center";
      pen.textBaseline = "top";
      pen.fillText(text, across(k * step), box.bottom + 6);
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      pen.fillText(text, box.left - 6, vertical(k * step));
    }
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    pen.clip();
    pen.strokeStyle = colours.muted;
    line(pen, across(-reach), vertical(-reach), across(reach), vertical(reach));
    for (const row of rows) {
      row.x = across(row.a);
      row.y = vertical(row.b);
      pen.strokeStyle = colours.odd;
      line(pen, across(row.a - 1.96 * row.sa), row.y, across(row.a + 1.96 * row.sa), row.y);
      line(pen, row.x, vertical(row.b - 1.96 * row.sb), row.x, vertical(row.b + 1.96 * row.sb));
    }
    pen.fillStyle = colours.even;
    dots(pen, rows.map((row) => row.x), rows.map((row) => row.y), 3);
    pen.restore();
    pen.fillStyle = colours.text;
    pen.textAlign = "center";
    pen.textBaseline = "top";
    pen.fillText(`Pooled: ${article.binary ? "log odds ratio" : "effect"}`, (box.left + box.right) / 2, box.bottom + 22);
    pen.save();
    pen.translate(8, (box.top + box.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("Meta-analysis, fixed effects", 0, 0);
    pen.restore();
    canvas.setAttribute("aria-label", `Effects of ${article.trait} at ${rows.length} lead variants, pooled against meta-analysis`);
    canvas.hit = (x, y) => {
      const near = nearest(rows.map((row) => row.x), rows.map((row) => row.y), x, y, 9);
      if (near < 0) return null;
      const row = rows[near];
      return { x: row.x, y: row.y, text: `${shorten(leadName(loci, row.i), 40)}\npooled ${effect(row.a)} (SE ${effect(row.sa)})\nmeta-analysis ${effect(row.b)} (SE ${effect(row.sb)})` };
    };
  }

  // ---- loci -------------------------------------------------------------------------------------------

  const number = (value, digits = 2) => (value === null || value === undefined ? "" : value.toFixed(digits));
  const estimate = (article, beta, se) => {
    if (beta === null || beta === undefined) return "";
    if (article.binary) return oddsRatio(beta, se);
    const round = (value) => effect(Number(value.toPrecision(3)));
    return `${round(beta)} (${round(beta - 1.96 * se)} to ${round(beta + 1.96 * se)})`;
  };

  function lociTable(article, choose) {
    const { loci } = article;
    const { meta } = loci;
    const what = article.binary ? "odds ratio" : "effect";
    const columns = [];
    const add = (head, values, text = (value) => number(value)) => columns.push({ head, values, text });
    if (loci.pooled) add("Pooled −log10 p", loci.pooled.p);
    if (meta.neg_log10_p) add("Fixed −log10 p", meta.neg_log10_p);
    if (meta.neg_log10_p_re2) add("RE2 −log10 p", meta.neg_log10_p_re2);
    if (meta.neg_log10_p_q) add("Q p", meta.neg_log10_p_q, (value) => (value === null ? "" : pText(value)));
    if (meta.i_squared) add("I²", meta.i_squared, (value) => (value === null ? "" : `${(100 * value).toFixed(0)} %`));
    const effects = (head, beta, se) => columns.push({ head, values: beta, text: (value, i) => estimate(article, value, se[i]) });
    if (loci.pooled) effects(`Pooled ${what}`, loci.pooled.beta, loci.pooled.se);
    if (meta.beta) effects("Fixed", meta.beta, meta.standard_error);
    if (meta.beta_random) effects("Random", meta.beta_random, meta.standard_error_random);
    article.groups.forEach((group, g) => effects(group, loci.by_groups[g].beta, loci.by_groups[g].se));
    const heads = ["Variant", "Position", "Effect allele", "Found", ...columns.map((column) => column.head)];
    const body = element("tbody");
    loci.position.forEach((position, i) => {
      const open = element("a", { href: "#", title: leadName(loci, i) }, leadName(loci, i));
      const row = element("tr", {}, element("td", { class: "name" }, open),
        cell(`${loci.contig[i]}:${whole(position)}`, "number", axis.names.indexOf(loci.contig[i]) * 1e10 + position),
        cell(loci.alt[i], "allele"), cell(foundText(article, i), ""),
        ...columns.map(({ values, text }) => cell(text(values[i], i), "number", values[i])));
      row.addEventListener("click", (event) => {
        event.preventDefault();
        choose(i, row);
      });
      body.append(row);
    });
    const left = (head) => ["Variant", "Effect allele", "Found"].includes(head);
    const headRow = element("tr", {}, ...heads.map((head) => element("th", { scope: "col", class: left(head) ? "" : "number" }, head)));
    const made = element("table", { class: "sortable index" }, element("thead", {}, headRow), body);
    sortable(made);
    return element("div", { class: loci.position.length > 10 ? "scroll long" : "scroll" }, made);
  }

  function foundText(article, i) {
    const { loci } = article;
    const groups = article.groups.filter((_, g) => loci.by_group[g][i]);
    if (article.panels.meta === null) return [...(loci.by[0][i] ? ["pooled"] : []), ...groups].join(", ");
    const parts = [FOUND[loci.found[i]]];
    if (loci.by[2][i] && !loci.by[1][i]) parts.push("(RE2)");
    if (groups.length) parts.push(`– ${groups.join(", ")}`);
    return parts.join(" ");
  }

  // A group with a result that does not reach the thresholds of the meta-analysis.
  const leftOut = (loci, g, i) => !loci.counts[g][i] && loci.by_groups[g].beta[i] !== null;

  function forestRows(article, i) {
    const { loci } = article;
    const { meta } = loci;
    const weights = loci.by_groups.map((group, g) => (loci.counts[g][i] ? group.se[i] ** -2 : 0));
    const total = weights.reduce((a, b) => a + b, 0) || 1;
    const rows = article.groups.map((group, g) => {
      const of = loci.by_groups[g];
      const without = loci.without.beta[g][i] === null ? null : { beta: loci.without.beta[g][i], se: loci.without.se[g][i] };
      const name = leftOut(loci, g, i) ? `${group} (not in meta)` : group;
      return { name, beta: of.beta[i], se: of.se[i], p: of.p[i], weight: weights[g] / total, kind: "group", without };
    });
    const summary = (name, beta, se, p) => beta && beta[i] !== null && rows.push({ name, beta: beta[i], se: se[i], p: p[i], kind: "summary" });
    summary("Fixed effects", meta.beta, meta.standard_error, meta.neg_log10_p);
    summary("Random effects", meta.beta_random, meta.standard_error_random, meta.neg_log10_p_random);
    if (loci.pooled && loci.pooled.beta[i] !== null) rows.push({ name: "Pooled", beta: loci.pooled.beta[i], se: loci.pooled.se[i], p: loci.pooled.p[i], kind: "other" });
    return rows;
  }

  function locus(article, i) {
    const { loci } = article;
    const made = element("div", { class: "locus" });
    const canvas = element("canvas", { role: "img" });
    const name = leadName(loci, i);
    const heterogeneity = loci.meta.neg_log10_p_q && loci.meta.neg_log10_p_q[i] !== null
      ? `Groups differ with p = ${pText(loci.meta.neg_log10_p_q[i])} (Q ${number(loci.meta.q[i], 1)}, I² ${(100 * loci.meta.i_squared[i]).toFixed(0)} %).` : "";
    made.append(element("h4", {}, `${name}, effect allele ${shorten(loci.alt[i], 20)}`), heterogeneity ? element("p", { class: "small" }, heterogeneity) : "", figure(canvas, ""));
    const count = (value) => (value === HIDDEN ? "≤20" : value === null || value < 1 ? "" : whole(value));
    const line_ = (label, of, g = null) => element("tr", {}, cell(label, "name"), cell(of.p[i] === null ? "" : count(of.n[i])),
      cell(of.frequency[i] === null ? "" : Number(of.frequency[i].toPrecision(3))),
      cell(estimate(article, of.beta[i], of.se[i])), cell(number(of.p[i])),
      cell(g === null ? "" : estimate(article, loci.without.beta[g][i], loci.without.se[g][i])),
      cell(g === null ? "" : number(loci.without.p[g][i])),
      cell(g === null ? "" : leftOut(loci, g, i) ? "not in meta" : loci.differs[g][i] ? "differs" : "", ""));
    const rows = article.groups.map((group, g) => line_(group, loci.by_groups[g], g));
    if (loci.pooled) rows.unshift(line_("pooled", loci.pooled));
    made.append(plainTable(["Analysis", "N", "Effect freq.", article.binary ? "Odds ratio (95 % CI)" : "Effect (95 % CI)", "−log10 p", "Without this group", "−log10 p", ""], rows));
    return { made, redraw: () => forest.draw(canvas, forestRows(article, i), { odds: article.binary, label: name }) };
  }

  // ---- fairness of a trait ----------------------------------------------------------------------------

  // Two tables: one would be wider than the page.
  function fairnessTables(article) {
    const { binary } = article;
    const none = (value) => value === null || value === undefined;
    const share = (value) => (none(value) ? "" : `${(100 * value).toFixed(1)} %`);
    const size = (value) => (none(value) ? "" : !binary ? `${value.toFixed(3)} SD` : value > LARGE ? `OR > ${Math.exp(LARGE).toFixed(0)}` : `OR ${Math.exp(value).toFixed(2)}`);
    const count = (value) => (none(value) ? "" : whole(Math.round(value)));
    const names = { pooled: "everybody, pooled", meta: "meta-analysis" };
    const table = (heads, cells) => plainTable(["Analysis", ...heads], article.fairness.map((row) => {
      if (!row.reason) return element("tr", {}, cell(names[row.analysis] || row.group, "name"), ...cells(row).map((text) => cell(text)));
      return element("tr", {}, cell(row.group, "name"), element("td", { class: "long", colspan: String(heads.length) }, `not scanned: ${row.reason}`));
    }));
    return [
      table(["People", "Share", ...(binary ? ["Cases", "Controls"] : []), "Effective size", "Weight", "Variants tested", "only here", "monomorphic", "filtered", "other", "λ", "λ ≥ 5 %", "λ 1–5 %"], (row) => [
        row.people ?? "", share(row.share), ...(binary ? [row.cases ?? "", row.controls ?? ""] : []), count(row.effective_n), share(row.weight_share),
        count(row.variants_tested), count(row.variants_only_here), count(row.variants_monomorphic), count(row.variants_filtered),
        count((row.variants_other ?? 0) + (row.variants_too_few_cases ?? 0)), number(row.inflation, 3), number(row.inflation_05_50, 3), number(row.inflation_01_05, 3)]),
      table(["Power", "Smallest effect, MAF 1 %", "MAF 5 %", "MAF 25 %", "SE ×", "Loci found", "gained", "that agree", "differ"], (row) => [
        none(row.power) ? "" : row.power < 0.01 ? "< 0.01" : number(row.power), size(row["smallest_effect_0.01"]), size(row["smallest_effect_0.05"]), size(row["smallest_effect_0.25"]), number(row.error_ratio),
        count(row.loci), count(row.loci_gained), count(row.loci_gained_agreeing), count(row.loci_differing)]),
    ];
  }

  // ---- articles ---------------------------------------------------------------------------------------

  function linesOf(article) {
    const { pooled, meta, groups } = article.panels;
    const all = [
      { number: pooled, name: "pooled", colour: ofAll, dash: [], wide: 2 },
      ...groups.map((group, g) => ({ number: group, name: article.groups[g], colour: () => colourOf(g), dash: g < COLOURS ? [] : [5, 3], wide: 1.5 })),
      { number: meta, name: "meta-analysis", colour: ofAll, dash: [7, 4], wide: 2 },
    ];
    return all.filter((one) => one.number !== null).map((one) => ({ ...one, ...panelOf(one.number) })).filter((one) => one.data.tested);
  }

  function facts(article) {
    const made = element("div", { class: "facts" });
    const say = (label, value) => made.append(made.childNodes.length ? "  ·  " : "", `${label} `, element("b", {}, value));
    say("groups", String(article.groups.length));
    say("loci", whole(article.n_loci));
    if (article.pairs) say("variants tested pooled and by meta-analysis", whole(article.pairs.n));
    return made;
  }

  function make(index, close) {
    const article = read(`across-${index}-data`);
    const title = `${article.trait} – by ${article.grouping}`;
    const made = element("article", { id: `across-${index}` }, element("header", {}, element("h3", { class: "trait" }, title), facts(article), close));
    const lines = linesOf(article);
    const drawn = [];
    const plot = (canvas, draw) => {
      canvas.setAttribute("role", "img");
      drawn.push(() => draw(canvas));
      return canvas;
    };
    if (!lines.length) {
      made.append(element("p", {}, "No variant has a result for this trait."));
      return { article: made, title, redraw: () => {} };
    }
    const [pooled, meta] = [panelOf(article.panels.pooled), panelOf(article.panels.meta)];
    const whole_ = [pooled, meta].filter((one) => one?.data.tested);
    const top = () => topOf(...lines.map((one) => one.data));
    const left = element("div", {});
    if (whole_.length) {
      left.append(element("h4", {}, whole_.length > 1 ? "Pooled above, meta-analysis below" : whole_[0] === pooled ? "Pooled" : "Meta-analysis"));
      whole_.forEach((one, k) => left.append(figure(plot(element("canvas"), (canvas) => manhattan(canvas, one.data, one.arrays, { tall: k ? 200 : whole_.length > 1 ? 236 : 420, top: top(), down: k > 0 })), "")));
    }
    const right = element("div", {}, element("h4", {}, "All analyses"), figure(plot(element("canvas"), (canvas) => quantiles(canvas, lines)), ""));
    made.append(element("div", { class: whole_.length ? "plots" : "" }, ...(whole_.length ? [left] : []), right), legend(lines));
    if (article.pairs?.n) {
      const effectsHere = article.loci.position.some((_, i) => article.loci.pooled.beta[i] !== null && article.loci.meta.beta[i] !== null);
      made.append(element("h4", {}, "Pooled against meta-analysis"), element("div", { class: "pair" },
        figure(plot(element("canvas"), (canvas) => scatter(canvas, article)), "−log10 p of every variant that both tested."),
        ...(effectsHere ? [figure(plot(element("canvas"), (canvas) => effects(canvas, article)), "Effects at the lead variants of all loci, with 95 % intervals.")] : [])));
    }
    const single = lines.filter((one) => one.name !== "pooled" && one.name !== "meta-analysis");
    if (single.length) {
      const small = element("div", { class: "pair" });
      for (const one of single) {
        small.append(element("div", {}, element("h4", {}, `${one.name}: N ${whole(one.data.n[1])}, λ ${one.data.inflation.toFixed(3)}`),
          figure(plot(element("canvas"), (canvas) => manhattan(canvas, one.data, one.arrays, { tall: 190, top: top(), labelled: false })), "")));
      }
      made.append(small);
    }
    const { loci } = article;
    if (loci.position.length) {
      const place = element("div", {});
      let shown = null;
      const table = lociTable(article, (i, row) => {
        shown = locus(article, i);
        place.replaceChildren(shown.made);
        table.querySelectorAll("tr.open").forEach((other) => other.classList.remove("open"));
        row.classList.add("open");
        shown.redraw();
      });
      const few = loci.position.length < article.n_loci ? ` (the first ${loci.position.length} of ${whole(article.n_loci)})` : "";
      made.append(element("h4", {}, `Loci that any analysis found, p ≤ ${axis.p_text}${few}`), table, place);
      shown = locus(article, 0);
      place.append(shown.made);
      table.querySelector("tbody tr").classList.add("open");
      drawn.push(() => shown.redraw());
    } else {
      made.append(element("p", {}, `No analysis finds a locus at p ≤ ${axis.p_text}.`));
    }
    made.append(element("h4", {}, "People, variants and calibration by group"));
    const [people, found] = fairnessTables(article);
    made.append(people, element("h4", {}, "Power, and what each group gains"), found);
    return { article: made, title, redraw: () => drawn.forEach((again) => again()) };
  }

  const traits = panels({ index: byId("across-index"), places: byId("across-panels"), key: "across", anchor: "across", data: (k) => `across-${k}-data`, make });
  if (byId("across-filter")) filtered(byId("across-index"), byId("across-filter"), byId("across-shown"));
  traits.begin([0]);
})();
