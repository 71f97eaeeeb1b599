"use strict";
// Draws what measure/page.py puts into #data. Text from files goes into textContent only, never into markup.
(() => {
  const began = performance.now();
  const errors = [];
  const root = document.documentElement;
  const tellErrors = () => { root.dataset.errors = errors.join(" | "); };
  addEventListener("error", (event) => { errors.push(event.message); tellErrors(); });
  addEventListener("securitypolicyviolation", (event) => { errors.push(`blocked ${event.blockedURI}`); tellErrors(); });

  const data = JSON.parse(document.getElementById("data").textContent);

  // ---- small things; colours are names of CSS variables
  const ofCodec = (number) => `--c${number % 8}`;
  const ofKind = (kind) => ({ I: "--kind-I", P: "--kind-P", B: "--kind-B", B_FORWARD: "--kind-B" })[kind] || "--kind-other";
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "text") element.textContent = value;
      else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }
  function choice(label, options, chosen, change) {
    const select = make("select", { onchange: () => change(Number(select.value)) });
    options.forEach((text, at) => select.append(make("option", { value: at, text })));
    select.value = chosen;
    return make("label", {}, label, select);
  }
  function buttons(titles, chosen, change) {
    const all = titles.map((text, at) => make("button", { type: "button", text, onclick: () => show(at) }));
    function show(at) { all.forEach((each, number) => each.setAttribute("aria-pressed", number === at)); change(at); }
    all.forEach((each, at) => each.setAttribute("aria-pressed", at === chosen));
    return all;
  }
  function frameOf(section) {
    const box = make("section");
    if (section.title) box.append(make("h2", { text: section.title }));
    if (section.note) box.append(make("p", { class: "note", text: section.note }));
    document.getElementById("main").append(box);
    return box;
  }

  // ---- charts
  function plotIn(parent, isLow, label, describe) {
    const box = make("div", { class: isLow ? "plot low" : "plot" });
    parent.append(box);
    return chartIn(box, label, describe);
  }
  const swatch = (colour) => paintWith(make("i"), { background: `var(${colour})` });
  function markSwatch(number, colour) {
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", markPath(number, 7, 7));
    path.setAttribute("class", "mark");
    drawn.setAttribute("class", "swatch");
    drawn.append(paintWith(path, { fill: `var(${colour})`, stroke: `var(${colour})` }));
    return drawn;
  }
  /** Names that show and hide what they stand for: [name, its sign] each. */
  function legend(names, hidden, change) {
    return make("ul", { class: "legend" }, ...names.map(([name, sign], at) => {
      const button = make("button", { type: "button", "aria-pressed": "true", title: "show or hide", onclick: () => {
        hidden.has(at) ? hidden.delete(at) : hidden.add(at);
        button.setAttribute("aria-pressed", !hidden.has(at));
        change();
      } }, sign, name);
      return make("li", {}, button);
    }));
  }
  const withUnit = (scale) => (scale.unit ? `${scale.title}, ${scale.unit}` : scale.title);
  const bits = (value) => (value >= 1 ? value.toFixed(2) : shortNumber(value, 3));

  function curves(section) {
    const box = frameOf(section);
    const hidden = new Set();
    let measure = 0;
    const draws = [];
    const redraw = () => draws.forEach((each) => each());
    if (section.measures.length > 1) {
      box.append(make("div", { class: "controls" }, ...buttons(section.measures.map((each) => each.title), 0, (at) => { measure = at; redraw(); })));
    }
    box.append(legend(section.codecs.map((name, at) => [name, markSwatch(at, ofCodec(at))]), hidden, redraw));
    const grid = make("div", { class: "charts" });
    box.append(grid);
    for (const panel of section.panels) {
      const cell = make("div", {}, make("h3", { text: panel.title }));
      grid.append(cell);
      draws.push(plotIn(cell, false, `rate-distortion curves, ${panel.title}`, () => {
        const scale = section.measures[measure];
        const pointOf = (line, point) => ({
          x: point.bits_per_pixel, y: point.values[scale.name],
          tip: () => [`${section.codecs[line.codec]}, ${point.label}`, `${scale.title} ${point.values[scale.name].toFixed(scale.decimals)} ${scale.unit}`,
            `${bits(point.bits_per_pixel)} bits a pixel, ${point.kbps.toFixed(0)} kb/s`],
        });
        return {
          x: { title: "bits a pixel", isLog: true }, y: { title: withUnit(scale) },
          lines: panel.lines.filter((line) => !hidden.has(line.codec)).map((line) => ({
            colour: ofCodec(line.codec), width: line.codec === 0 ? 2.6 : 1.6, mark: line.codec,
            points: line.points.filter((point) => point.values[scale.name] !== undefined).map((point) => pointOf(line, point)).sort((a, b) => a.x - b.x),
          })),
        };
      }));
    }
  }

  function speed(section) {
    const box = frameOf(section);
    let side = 0;
    let redraw = () => {};
    box.append(make("div", { class: "controls" }, ...buttons(["encoding", "decoding"], 0, (at) => { side = at; redraw(); })));
    redraw = plotIn(box, false, "speed against bit rate", () => ({
      x: { title: `frames a second ${side ? "decoded" : "encoded"}`, isLog: true },
      y: { title: `bits against ${section.anchor}, %`, isReversed: true, grace: 0.12 },
      lines: [{
        markPx: 7,
        points: section.points.map((point) => ({
          x: side ? point.decode_fps : point.encode_fps, y: point.bd_rate, name: point.name, colour: ofCodec(point.codec), mark: point.codec,
          tip: () => [point.name, `${point.bd_rate >= 0 ? "+" : ""}${point.bd_rate.toFixed(1)} % bits at equal quality`,
            `${shortNumber(point.encode_fps, 3)} frames a second encoded, ${shortNumber(point.decode_fps, 3)} decoded`],
        })).sort((a, b) => a.x - b.x),
      }],
    }));
  }

  function frames(section) {
    const box = frameOf(section);
    let group = 0, run = 0, measure = 0;
    const controls = make("div", { class: "controls" });
    const body = make("div");
    box.append(controls, body);
    function show() {
      const chosen = section.groups[group];
      run = Math.min(run, chosen.runs.length - 1);
      controls.replaceChildren();
      if (section.groups.length > 1) controls.append(choice("clip", section.groups.map((each) => each.title), group, (at) => { group = at; show(); }));
      if (chosen.runs.filter((each) => each.bytes.length).length > 1) controls.append(choice("bits of", chosen.runs.map((each) => each.name), run, (at) => { run = at; show(); }));
      if (section.measures.length > 1) controls.append(choice("quality", section.measures.map((each) => each.title), measure, (at) => { measure = at; show(); }));
      body.replaceChildren();
      drawBits(chosen.runs[run]);
      if (section.measures.length) drawQuality(chosen);
    }
    function drawBits(one) {
      if (!one.bytes.length) return;
      const hasMotion = one.motion.some((each) => each > 0), hasQ = one.q.length > 0;
      const list = make("ul", { class: "legend" });
      for (const kind of new Set(one.kinds)) {
        list.append(make("li", {}, swatch(ofKind(kind)), one.step > 1 ? `${kind} frames` : `${kind} frames, ${one.kinds.filter((each) => each === kind).length}`));
      }
      if (hasMotion) list.append(make("li", {}, swatch("--soft"), "motion, part of the frame"));
      if (hasQ) list.append(make("li", { text: "line: quality index q, higher is better" }));
      body.append(make("h3", { text: `kilobytes a frame, ${one.name}${one.step > 1 ? `; each bar is the mean of ${one.step} frames` : ""}` }), list);
      const tip = (at) => [`frame ${at * one.step}, ${one.kinds[at]}`, `${Math.round(one.bytes[at])} bytes`,
        ...(one.motion[at] ? [`${Math.round(one.motion[at])} of them motion`] : []), ...(hasQ ? [`q ${one.q[at].toFixed(2)}`] : [])];
      plotIn(body, true, "kilobytes a frame", () => ({
        x: { title: "frame, as watched", isWhole: true, min: -0.5 * one.step, max: (one.bytes.length - 0.5) * one.step },
        y: { title: "kB", fromZero: true },
        right: hasQ ? { title: "q" } : null,
        byX: true,
        bars: {
          width: one.step,
          items: one.bytes.map((size, at) => {
            const motion = one.motion[at] || 0;
            return { x: at * one.step, parts: [[motion / 1000, "--soft"], [(size - motion) / 1000, ofKind(one.kinds[at])]], tip: () => tip(at) };
          }),
        },
        lines: hasQ ? [{ colour: "--ink", width: 1, isStepped: true, onRight: true, points: one.q.map((q, at) => ({ x: at * one.step, y: q })) }] : [],
      }));
    }
    function drawQuality(chosen) {
      const scale = section.measures[measure];
      const hidden = new Set();
      let redraw = () => {};
      body.append(make("h3", { text: `${withUnit(scale)}, frame by frame` }), legend(chosen.runs.map((each) => [each.name, swatch(ofCodec(each.codec))]), hidden, () => redraw()));
      const valuesOf = (each) => each.quality[scale.name] || [];
      redraw = plotIn(body, true, "quality of each frame", () => ({
        x: { title: "frame, as watched", isWhole: true, min: 0, max: Math.max(1, ...chosen.runs.map((each) => (valuesOf(each).length - 1) * each.step)) },
        y: { title: scale.unit || scale.title },
        lines: chosen.runs.filter((each, at) => !hidden.has(at)).map((each) => ({
          colour: ofCodec(each.codec), width: each.codec === 0 ? 2.2 : 1.3, mark: valuesOf(each).length > 1 ? undefined : 0,
          points: valuesOf(each).map((value, at) => ({
            x: at * each.step, y: value, tip: () => [`frame ${at * each.step}`, `${each.name}: ${value.toFixed(scale.decimals)} ${scale.unit}`],
          })),
        })),
      }));
    }
    show();
  }

  // ---- the rest
  function slider(section) {
    const box = frameOf(section);
    let scene = 0, left = 0, right = section.scenes[0].pictures.length - 1, zoom = 2, share = 0.5;
    const controls = make("div", { class: "controls" });
    const under = make("img", { alt: "" }), over = make("img", { alt: "" });
    const clip = make("div", { class: "over" }, over), edge = make("div", { class: "edge" });
    const tagLeft = make("span", { class: "tag left" }), tagRight = make("span", { class: "tag right" });
    const viewer = make("div", { class: "viewer", tabindex: "0", role: "slider", "aria-label": "where one picture gives way to the other", "aria-valuemin": 0, "aria-valuemax": 100 },
      under, clip, edge, tagLeft, tagRight);
    box.append(controls, viewer);
    function place() {
      clip.style.clipPath = `inset(0 ${100 - share * 100}% 0 0)`;
      edge.style.left = `${share * 100}%`;
      viewer.setAttribute("aria-valuenow", Math.round(share * 100));
    }
    function show() {
      const one = section.scenes[scene];
      left = Math.min(left, one.pictures.length - 1);
      right = Math.min(right, one.pictures.length - 1);
      const names = one.pictures.map((each) => `${each.name} (${each.detail})`);
      controls.replaceChildren();
      if (section.scenes.length > 1) controls.append(choice("clip", section.scenes.map((each) => each.title), scene, (at) => { scene = at; show(); }));
      controls.append(choice("left", names, left, (at) => { left = at; show(); }), choice("right", names, right, (at) => { right = at; show(); }));
      controls.append(make("span", { class: "together" }, ...buttons(["1x", "2x", "3x"], zoom - 1, (at) => { zoom = at + 1; show(); })));
      viewer.style.width = `${one.width * zoom}px`;
      viewer.style.aspectRatio = `${one.width} / ${one.height}`;
      over.src = one.pictures[left].src;
      under.src = one.pictures[right].src;
      tagLeft.textContent = names[left];
      tagRight.textContent = names[right];
      place();
    }
    const move = (event) => {
      const area = viewer.getBoundingClientRect();
      share = Math.min(1, Math.max(0, (event.clientX - area.left) / area.width));
      place();
    };
    viewer.addEventListener("pointerdown", (event) => { viewer.setPointerCapture(event.pointerId); move(event); });
    viewer.addEventListener("pointermove", (event) => { if (event.buttons || event.pointerType === "mouse") move(event); });
    viewer.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      share = Math.min(1, Math.max(0, share + step));
      place();
    });
    show();
    // Whole pixels where they are enlarged; a narrow screen may show fewer than the picture has.
    new ResizeObserver(() => viewer.classList.toggle("pixels", viewer.clientWidth > 1.5 * section.scenes[scene].width)).observe(viewer);
  }

  function table(section) {
    const box = frameOf(section);
    const body = make("tbody");
    for (const row of section.rows) {
      body.append(make("tr", row.strong ? { class: "strong" } : {}, ...row.cells.map((cell) => make("td", { class: cell.tone || "", title: cell.hint || "", text: cell.text }))));
    }
    const head = make("thead", {}, make("tr", {}, ...section.columns.map((text) => make("th", { scope: "col", text }))));
    box.append(make("div", { class: "scroll" }, make("table", {}, head, body)));
  }
  function facts(section) {
    frameOf(section).append(make("dl", {}, ...section.items.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })])));
  }
  function tiles(section) {
    frameOf(section).append(make("div", { class: "tiles" }, ...section.items.map((each) =>
      make("div", { class: `tile ${each.tone}` }, make("b", { text: each.value }), make("span", { text: each.name })))));
  }
  function bars(section) {
    const box = frameOf(section);
    const most = Math.max(...section.items.map((each) => each.value), 1e-9);
    const grid = make("div", { class: "bars" });
    for (const each of section.items) {
      const fill = make("div", { class: "fill" });
      fill.style.width = `${(100 * each.value) / most}%`;
      grid.append(make("span", { class: "name", text: each.name }), make("div", { class: "track" }, fill), make("span", { class: "value", text: each.text }));
    }
    box.append(grid);
  }
  function timeline(section) {
    const box = frameOf(section);
    const hidden = new Set();
    let redraw = () => {};
    const names = [...section.stages, "frames a second"];
    box.append(legend(names.map((name, at) => [name, swatch(ofCodec(at))]), hidden, () => redraw()));
    const line = (at, valueOf, said) => ({
      colour: ofCodec(at), width: 1.8, onRight: at === section.stages.length,
      points: section.moments.map((each) => ({
        x: each.at_s, y: valueOf(each), tip: () => [`${names[at]}, up to ${each.at_s.toFixed(2)} s`, said(valueOf(each))],
      })),
    });
    redraw = plotIn(box, true, `${section.title}, over time`, () => ({
      x: { title: "seconds" }, y: { title: "threads at work", fromZero: true },
      ...(hidden.has(section.stages.length) ? {} : { right: { title: "frames a second", fromZero: true } }),
      lines: [
        ...section.stages.map((_, at) => line(at, (each) => each.busy[at], (value) => `${value.toFixed(2)} threads at work`)),
        line(section.stages.length, (each) => each.frames_per_s, (value) => `${shortNumber(value, 3)} frames a second`),
      ].filter((_, at) => !hidden.has(at)),
    }));
  }
  function flame(section) {
    const box = frameOf(section);
    const area = make("div", { class: "flame" });
    const said = make("p", { class: "said" });
    box.append(area, said);
    const tints = ["#ffd8a8", "#ffc078", "#ffec99", "#b2f2bb", "#a5d8ff", "#d0bfff", "#fcc2d7", "#c3fae8"];
    const tint = (name) => tints[[...name.split(" ")[0]].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0) | 0, 7) >>> 0 & 7];
    function show(top, parents) {
      area.replaceChildren();
      let deepest = 0;
      const place = (node, from, share, depth) => {
        if (share < 0.0015) return;
        deepest = Math.max(deepest, depth);
        const cell = make("div", { text: node.name, title: `${node.name}: ${node.value.toFixed(2)} s`, onclick: () => {
          if (depth < parents.length) show(parents[depth], parents.slice(0, depth));
          else show(node, trail(node));
        }, onmouseenter: () => { said.textContent = `${node.name}: ${node.value.toFixed(2)} s, ${(100 * node.value / section.root.value).toFixed(1)} % of all`; } });
        cell.style.cssText = `left:${100 * from}%;width:${100 * share}%;top:${21 * depth}px;background:${tint(node.name)}`;
        area.append(cell);
        if (depth < parents.length) return;
        let at = from;
        for (const child of node.children) { place(child, at, share * child.value / node.value, depth + 1); at += share * child.value / node.value; }
      };
      parents.forEach((node, depth) => place(node, 0, 1, depth));
      place(top, 0, 1, parents.length);
      area.style.height = `${21 * (deepest + 1)}px`;
    }
    function trail(wanted) {
      const walk = (node, path) => {
        if (node === wanted) return path;
        for (const child of node.children) { const found = walk(child, [...path, node]); if (found) return found; }
        return null;
      };
      return walk(section.root, []) || [];
    }
    show(section.root, []);
  }

  // ---- light and dark
  const media = matchMedia("(prefers-color-scheme: dark)");
  let wish = "auto";
  const button = document.getElementById("theme");
  function paint() {
    root.dataset.theme = wish === "auto" ? (media.matches ? "dark" : "light") : wish;
    button.textContent = `theme: ${wish}`;
  }
  button.addEventListener("click", () => { wish = { auto: "light", light: "dark", dark: "auto" }[wish]; paint(); });
  media.addEventListener("change", paint);
  paint();

  const kinds = { curves, speed, frames, slider, table, facts, tiles, bars, flame, timeline };
  for (const section of data.sections) kinds[section.type](section);
  requestAnimationFrame(() => requestAnimationFrame(() => {
    root.dataset.drawnMs = (performance.now() - began).toFixed(0);
    root.dataset.requests = performance.getEntriesByType("resource").filter((each) => !each.name.startsWith("data:")).length;
    tellErrors();
  }));
})();
