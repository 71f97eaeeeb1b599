"use strict";
// Charts in SVG. `chartIn(box, label, describe)` draws what describe() returns into the box, again whenever the box
// changes its size, and returns a function that draws it anew. describe() returns
//
//   x, y, right  axes: { title, isLog, isWhole, fromZero, isReversed, grace, min, max }; right only where a line asks for it
//   lines        [{ colour, width, mark, isStepped, onRight, points: [{ x, y, tip, colour, mark, name }] }], the first on top
//   bars         { width, items: [{ x, parts: [[height, colour], ...], tip }] }, parts from the bottom up
//   byX          whether the point that is pointed at is sought by x alone
//
// Colours are names of CSS variables, so that another theme needs no drawing; tip() returns lines of text, a title
// first; a mark is a number, 0..7 being different shapes. What has no finite x and y is left out.
const { chartIn, markPath, paintWith, shortNumber } = (() => {
  const TEXT_PX = 12, NAME_PX = 12.5, TICK_GAP_PX = 46, TOP_PX = 24, BOTTOM_PX = 40, SIDE_PX = 16, MARK_PX = 4;
  const pen = document.createElement("canvas").getContext("2d");  // to measure text, never shown
  const limit = (value, low, high) => Math.max(low, Math.min(high, value));
  const shortNumber = (value, digits = 4) => (Number.isFinite(value) ? Number(value.toPrecision(digits)).toString() : "none");

  function textWidth(text, size) {
    pen.font = `${size}px system-ui, sans-serif`;
    return pen.measureText(text).width;
  }
  function shape(tag, attributes, text = "") {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  }
  function paintWith(element, styles) {
    for (const [name, value] of Object.entries(styles)) element.style.setProperty(name, value);
    return element;
  }
  const px = (value) => value.toFixed(1);

  /** The outline of a mark around a point; the colour both fills and strokes it. */
  function markPath(number, x, y, radius = MARK_PX) {
    const r = radius, d = 1.25 * radius, s = 0.9 * radius;
    const drawn = [
      `m${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
      `m${-s} ${-s}h${2 * s}v${2 * s}h${-2 * s}z`,
      `m0 ${-d}l${d} ${2 * d - 1}h${-2 * d}z`,
      `m0 ${-d}l${d} ${d}l${-d} ${d}l${-d} ${-d}z`,
      `m${-d} 0h${2 * d}m${-d} ${-d}v${2 * d}m${-s} ${-d - s}l${2 * s} ${2 * s}m0 ${-2 * s}l${-2 * s} ${2 * s}`,
      `m${-s} ${-s}l${2 * s} ${2 * s}m0 ${-2 * s}l${-2 * s} ${2 * s}`,
      `m0 ${d}l${d} ${1 - 2 * d}h${-2 * d}z`,
      `m${-d} 0h${2 * d}m${-d} ${-d}v${2 * d}`,
    ];
    return `M${px(x)} ${px(y)}${drawn[number % drawn.length]}`;
  }

  // ---- axes
  /** The distance of ticks, 1, 2 or 5 times a power of ten, so that there are `most` of them or fewer. */
  function tickStep(low, high, most, isWhole) {
    const rough = (high - low) / Math.max(1, most);
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((each) => each * power >= rough * 0.999);
    return isWhole ? Math.max(1, step) : step;
  }
  function multiples(low, high, step) {
    const first = Math.ceil(low / step - 1e-6), last = Math.floor(high / step + 1e-6);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => (first + at) * step);
  }
  function rangeOf(axis, values) {
    let low = axis.min ?? values.reduce((least, each) => Math.min(least, each), Infinity);
    let high = axis.max ?? values.reduce((most, each) => Math.max(most, each), -Infinity);
    if (!(low <= high)) [low, high] = axis.isLog ? [1, 10] : [0, 1];
    if (axis.fromZero) low = Math.min(0, low);
    if (axis.isLog) {
      const pad = Math.max(0.05 * Math.log(high / low), 0.1);
      return [low * Math.exp(-pad), high * Math.exp(pad)];
    }
    if (low === high) [low, high] = axis.fromZero ? [low, low + 1] : [low - (Math.abs(low) / 50 || 1), high + (Math.abs(high) / 50 || 1)];
    const pad = (axis.grace || 0.04) * (high - low);
    return [axis.min ?? (axis.fromZero ? low : low - pad), axis.max ?? high + pad];
  }
  /** An axis as its range and the texts at its ticks. */
  function measured(axis, values, lengthPx, gapPx) {
    const [low, high] = rangeOf(axis, values);
    const most = Math.max(2, Math.floor(lengthPx / gapPx));
    if (axis.isLog) {
      const at = (value) => (lengthPx * Math.log(value / low)) / Math.log(high / low);
      const powers = multiples(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)), 1);
      const series = [[1, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]].map((factors) =>
        powers.flatMap((power) => factors.map((each) => each * 10 ** power)).filter((each) => each >= low && each <= high));
      const isRoomy = (ticks) => ticks.every((each, number) => !number || at(each) - at(ticks[number - 1]) >= gapPx);
      let ticks = series.find(isRoomy) || [];
      if (ticks.length < 3) ticks = multiples(low, high, tickStep(low, high, Math.min(most, 4), false));
      return { low, high, share: (value) => at(value) / lengthPx, ticks: ticks.map((value) => ({ value, text: shortNumber(value, 3) })) };
    }
    const step = tickStep(low, high, most, axis.isWhole);
    const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-6));
    const ticks = multiples(low, high, step).map((value) => ({ value, text: value.toFixed(decimals) }));
    return { low, high, share: (value) => (value - low) / (high - low), ticks };
  }

  // ---- drawing
  const isPoint = (point) => Number.isFinite(point.x) && Number.isFinite(point.y);

  function linePath(points, band, isStepped) {
    let path = "", isOpen = false;
    for (const point of points) {
      if (!point) { isOpen = false; continue; }
      const [x, y] = point;
      if (isStepped) path += `${isOpen ? "L" : "M"}${px(x - band / 2)} ${px(y)}H${px(x + band / 2)}`;
      else path += `${isOpen ? "L" : "M"}${px(x)} ${px(y)}`;
      isOpen = true;
    }
    return path;
  }
  /** Names beside their marks where there is room, else above or below them. */
  function placeNames(spots, area, width) {
    const taken = spots.map(({ x, y }) => ({ left: x - 8, right: x + 8, top: y - 8, bottom: y + 8 }));
    return spots.map((spot, own) => {
      const { x, y } = spot, wide = textWidth(spot.name, NAME_PX);
      const places = [[x + 12, y + 4], [x - 12 - wide, y + 4], [x - wide / 2, y + 22], [x - wide / 2, y - 14],
        [x + 12, y + 18], [x - 12 - wide, y + 18], [x - 12 - wide, y - 10], [x + 12, y - 10]];
      const boxes = places.map(([left, base]) => ({ x: left, y: base, left: left - 2, right: left + wide + 2, top: base - 11, bottom: base + 3 }));
      const isFree = (box) => box.left >= area.left && box.right <= width
        && !taken.some((other, at) => at !== own && other.left < box.right && other.right > box.left && other.top < box.bottom && other.bottom > box.top);
      const chosen = boxes.find(isFree) || boxes[0];
      taken.push(chosen);
      return shape("text", { class: "name", x: px(chosen.x), y: px(chosen.y) }, spot.name);
    });
  }
  /** Grid, ticks and titles; returns the area inside and where values lie in it. */
  function drawAxes(svg, plan, width, height) {
    const bars = plan.bars ? plan.bars.items : [];
    const points = (onRight) => plan.lines.filter((line) => Boolean(line.onRight) === onRight).flatMap((line) => line.points).filter(isPoint);
    const sums = bars.map((bar) => bar.parts.reduce((sum, [part]) => sum + part, 0));
    const tall = height - TOP_PX - BOTTOM_PX;
    const left = measured(plan.y, [...points(false).map((each) => each.y), ...sums], tall, 0.8 * TICK_GAP_PX);
    const right = plan.right && measured(plan.right, points(true).map((each) => each.y), tall, 0.8 * TICK_GAP_PX);
    const wide = (axis) => Math.max(...axis.ticks.map((tick) => textWidth(tick.text, TEXT_PX)), 0) + 8;
    const area = { left: wide(left), right: width - (right ? wide(right) : SIDE_PX), top: TOP_PX, bottom: height - BOTTOM_PX };
    const below = measured(plan.x, [...points(false).map((each) => each.x), ...bars.map((each) => each.x)], area.right - area.left, 1.35 * TICK_GAP_PX);
    const x = (value) => area.left + below.share(value) * (area.right - area.left);
    const upward = (axis, isReversed) => (value) => area.bottom - (isReversed ? 1 - axis.share(value) : axis.share(value)) * (area.bottom - area.top);
    const y = upward(left, plan.y.isReversed), yRight = right && upward(right, plan.right.isReversed);

    let grid = "";
    for (const { value, text } of left.ticks) {
      grid += `M${px(area.left)} ${px(y(value))}H${px(area.right)}`;
      svg.append(shape("text", { x: px(area.left - 7), y: px(y(value) + 4), "text-anchor": "end" }, text));
    }
    for (const { value, text } of right ? right.ticks : []) svg.append(shape("text", { x: px(area.right + 7), y: px(yRight(value) + 4) }, text));
    for (const { value, text } of below.ticks) {
      grid += `M${px(x(value))} ${area.top}V${area.bottom}`;
      const half = textWidth(text, TEXT_PX) / 2;
      svg.append(shape("text", { x: px(limit(x(value), half, width - half)), y: area.bottom + 17, "text-anchor": "middle" }, text));
    }
    svg.append(shape("path", { class: "grid", d: grid }), shape("path", { class: "base", d: `M${px(area.left)} ${area.bottom}H${px(area.right)}` }));
    svg.append(shape("text", { class: "title", x: 0, y: 12 }, plan.y.title));
    if (right) svg.append(shape("text", { class: "title", x: width, y: 12, "text-anchor": "end" }, plan.right.title));
    svg.append(shape("text", { class: "title", x: px((area.left + area.right) / 2), y: height - 5, "text-anchor": "middle" }, plan.x.title));
    return { area, x, y, yRight };
  }
  /** Bars as one path a colour, the rarest on top so that it is seen among many; returns what can be pointed at. */
  function drawBars(svg, bars, { area, x, y }) {
    const band = x(bars.width) - x(0), wide = Math.max(1, band > 5 ? 0.88 * band : band);
    const ofColour = new Map();
    const spots = bars.items.map((bar) => {
      let sum = 0;
      for (const [part, colour] of bar.parts) {
        const from = y(sum), to = y(sum += part);
        if (!ofColour.has(colour)) ofColour.set(colour, []);
        if (part > 0) ofColour.get(colour).push(`M${px(x(bar.x) - wide / 2)} ${px(from)}V${px(to)}h${px(wide)}V${px(from)}z`);
      }
      return { x: x(bar.x), y: y(sum), row: bars, tip: bar.tip };
    });
    for (const [colour, paths] of [...ofColour].sort((a, b) => b[1].length - a[1].length)) {
      svg.append(paintWith(shape("path", { d: paths.join("") }), { fill: `var(${colour})` }));
    }
    return spots;
  }
  function drawLine(svg, line, band, { area, x, y, yRight }) {
    const up = line.onRight ? yRight : y;
    const placed = line.points.map((point) => (isPoint(point) ? [x(point.x), up(point.y), point] : null));
    if (line.width) {
      const d = linePath(placed, band, line.isStepped);
      const opacity = line.onRight && band < 3 ? 0.35 : 1;  // where bars lie dense, what is drawn over them must not hide them
      svg.append(paintWith(shape("path", { class: "line", d }), { stroke: `var(${line.colour})`, "stroke-width": line.width, opacity }));
    }
    const spots = placed.filter(Boolean).map(([left, top, point]) => ({
      x: left, y: top, row: line, tip: point.tip, name: point.name, colour: point.colour || line.colour, mark: point.mark ?? line.mark,
    }));
    for (const spot of spots.filter((each) => each.mark !== undefined)) {
      const mark = shape("path", { class: "mark", d: markPath(spot.mark, spot.x, spot.y, line.markPx) });
      svg.append(paintWith(mark, { fill: `var(${spot.colour})`, stroke: `var(${spot.colour})` }));
    }
    return spots.filter((each) => each.tip);
  }

  function chartIn(box, label, describe) {
    const svg = shape("svg", { class: "chart", "aria-hidden": "true" });
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.setAttribute("role", "status");
    tip.hidden = true;
    for (const [name, value] of [["tabindex", "0"], ["role", "group"], ["aria-roledescription", "chart"]]) box.setAttribute(name, value);
    box.setAttribute("aria-label", `${label}; the arrow keys go from value to value`);
    box.append(svg, tip);
    let spots = [], chosen = null, byX = false, area = null;
    let pointer = shape("path", {});

    function draw() {
      const width = box.clientWidth, height = box.clientHeight;
      if (!width || !height) return;
      const plan = describe();
      hide();
      svg.replaceChildren();
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      const axes = drawAxes(svg, plan, width, height);
      byX = Boolean(plan.byX);
      area = axes.area;
      spots = plan.bars ? drawBars(svg, plan.bars, axes) : [];
      const band = plan.bars ? axes.x(plan.bars.width) - axes.x(0) : 0;
      // The first line is drawn last and so lies on top, and is the first that keys and pointer find.
      const ofLines = [...plan.lines].reverse().map((line) => drawLine(svg, line, band, axes)).reverse();
      spots.push(...ofLines.flat());
      const named = spots.filter((each) => each.name);
      svg.append(...placeNames(named, area, width));
      if (!spots.length) svg.append(shape("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing to show"));
      svg.append(pointer = shape("path", { class: "pointer" }));
    }
    function show(spot) {
      if (!spot) return;
      chosen = spot;
      pointer.setAttribute("d", byX ? `M${px(spot.x)} ${area.top}V${area.bottom}` : markPath(0, spot.x, spot.y, 2 * MARK_PX));
      const [title, ...lines] = spot.tip();
      const head = document.createElement("b");
      head.textContent = title;
      tip.replaceChildren(head, ...lines.map((text) => Object.assign(document.createElement("div"), { textContent: text })));
      tip.hidden = false;
      const wide = tip.offsetWidth, high = tip.offsetHeight;
      const above = spot.y - high - 14;
      tip.style.left = `${limit(spot.x - wide / 2, 0, Math.max(0, box.clientWidth - wide))}px`;
      tip.style.top = `${above > -TOP_PX ? above : spot.y + 14}px`;
    }
    function hide() {
      chosen = null;
      tip.hidden = true;
      pointer.setAttribute("d", "");
    }
    function nearest(x, y, among = spots) {
      const distance = (spot) => (spot.x - x) ** 2 + (byX ? 0 : (spot.y - y) ** 2);
      return among.reduce((best, each) => (best && distance(best) <= distance(each) ? best : each), null);
    }
    const point = (event) => {
      const at = box.getBoundingClientRect();
      show(nearest(event.clientX - at.left, event.clientY - at.top));
    };
    box.addEventListener("pointermove", point);
    box.addEventListener("pointerdown", point);
    for (const name of ["pointerleave", "pointercancel", "blur"]) box.addEventListener(name, hide);
    box.addEventListener("keydown", (event) => {
      const along = { ArrowRight: 1, ArrowLeft: -1 }[event.key], across = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (!(along || across) || !spots.length) return;
      event.preventDefault();
      const rows = [...new Set(spots.map((each) => each.row))];
      if (!chosen) { show(spots[0]); return; }
      if (across) {
        const row = rows[(rows.indexOf(chosen.row) + across + rows.length) % rows.length];
        show(nearest(chosen.x, chosen.y, spots.filter((each) => each.row === row)));
      } else {
        const own = spots.filter((each) => each.row === chosen.row);
        show(own[limit(own.indexOf(chosen) + along, 0, own.length - 1)]);
      }
    });
    new ResizeObserver(draw).observe(box);
    return draw;
  }
  return { chartIn, markPath, paintWith, shortNumber };
})();
