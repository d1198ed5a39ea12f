"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("canvas"), tip = document.getElementById("tip");
  const brush = canvas.getContext("2d");
  if (!brush) return;
  const unpack = (text) => {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    const n = bytes.length / 2, out = new Float32Array(n), view = new DataView(bytes.buffer);
    for (let i = 0; i < n; i++) out[i] = view.getUint16(2 * i, true) / 65535;
    return out;
  };
  const raw16 = (text) => Uint16Array.from(unpack(text), (v) => Math.round(v * 65535));
  const layers = {
    corpus: { at: unpack(data.corpus), names: data.corpusNames },
    references: { at: unpack(data.references), names: data.referenceNames, artist: raw16(data.referenceArtist) },
    centroids: { at: unpack(data.centroids) },
  };
  const hulls = data.hulls.map((h) => ({ k: h.k, at: unpack(h.p) }));
  const suspects = data.suspects.map((s) => ({ ...s, at: unpack(s.p) }));
  const on = { corpus: true, references: true, hulls: true, centroids: true };
  let colours = {}, zoom = 1, cx = 0.5, cy = 0.5, wide = 0, high = 0, unit = 1, marked = new Set(), pending = false, moving = 0;
  const WHILE_MOVING = 15000;

  const palette = () => {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(name).trim();
    colours = { ink: get("--ink"), card: get("--card"), mark: get("--mark"), corpus: get("--corpus"), g: [] };
    for (let i = 0; i < 8; i++) colours.g.push(get("--g" + i));
  };
  const resize = () => {
    const scale = window.devicePixelRatio || 1;
    wide = canvas.clientWidth; high = canvas.clientHeight;
    canvas.width = Math.round(wide * scale); canvas.height = Math.round(high * scale);
    brush.setTransform(scale, 0, 0, scale, 0, 0);
    unit = Math.min((wide - 60) / data.ratio, high - 60);
    draw();
  };
  const px = (x) => wide / 2 + (x - cx) * unit * data.ratio * zoom;
  const py = (y) => high / 2 - (y - cy) * unit * zoom;
  const dots = (at, size, colour, alpha, pick, every = 1) => {
    brush.globalAlpha = alpha;
    brush.fillStyle = colour;
    for (let i = 0; i < at.length; i += 2 * every) {
      if (pick && !pick(i / 2)) continue;
      const x = px(at[i]), y = py(at[i + 1]);
      if (x > -9 && y > -9 && x < wide + 9 && y < high + 9) brush.fillRect(x - size / 2, y - size / 2, size, size);
    }
    brush.globalAlpha = 1;
  };
  const outline = (at) => {
    brush.beginPath();
    for (let i = 0; i < at.length; i += 2) brush.lineTo(px(at[i]), py(at[i + 1]));
    brush.closePath();
  };
  const shape = (k, x, y, r) => {
    brush.beginPath();
    if (k === 0) brush.arc(x, y, r, 0, 7);
    else for (const [dx, dy] of data.shapes[k]) brush.lineTo(x + r * dx, y + r * dy);
    brush.closePath();
  };
  const star = (x, y, r) => {
    brush.beginPath();
    for (let i = 0; i < 10; i++) {
      const s = i % 2 ? 0.42 * r : r, a = Math.PI * (i / 5 - 0.5);
      brush.lineTo(x + s * Math.cos(a), y + s * Math.sin(a));
    }
    brush.closePath();
  };
  const label = (text, x, y, colour) => {
    brush.font = "13px system-ui, sans-serif"; brush.textAlign = "center";
    brush.lineWidth = 3.5; brush.lineJoin = "round"; brush.strokeStyle = colours.card; brush.fillStyle = colour;
    brush.strokeText(text, x, y); brush.fillText(text, x, y);
  };
  const draw = () => {
    if (pending) return;
    pending = true;
    requestAnimationFrame(paint);
  };
  // While the map moves, a share of a large corpus is drawn, so that it follows the hand; all of it once it rests.
  const move = () => {
    clearTimeout(moving);
    moving = setTimeout(() => { moving = 0; draw(); }, 400);
    draw();
  };
  // Artists nearest to a suspect come first, so that they get their names while there is room.
  const near = new Set(suspects.map((s) => s.a));
  const order = [...data.artists.keys()].sort((i, j) => near.has(data.artists[j].n) - near.has(data.artists[i].n));
  const paint = () => {
    pending = false;
    brush.fillStyle = colours.card;
    brush.fillRect(0, 0, wide, high);
    const every = moving ? Math.ceil(layers.corpus.at.length / (2 * WHILE_MOVING)) : 1;
    // Fainter the more there are in sight: a hundred thousand points would hide the outlines under one grey.
    const shown = layers.corpus.at.length / 2 / every / (zoom * zoom);
    const faint = Math.min(0.55, Math.max(0.12, 0.55 * Math.sqrt(8000 / Math.max(shown, 1))));
    if (on.corpus) dots(layers.corpus.at, zoom > 4 ? 3 : 1.6, colours.corpus, faint, null, every);
    if (on.hulls) for (const h of hulls) {
      outline(h.at);
      brush.globalAlpha = 0.07; brush.fillStyle = colours.g[h.k]; brush.fill();
      brush.globalAlpha = 0.8; brush.strokeStyle = colours.g[h.k]; brush.lineWidth = 1.6; brush.stroke();
      brush.globalAlpha = 1;
    }
    if (on.references) {
      const mine = layers.references.artist;
      for (let k = 0; k < 8; k++) dots(layers.references.at, zoom > 2 ? 5 : 3.5, colours.g[k], 0.45, (i) => data.artists[mine[i]].k === k);
      if (marked.size) dots(layers.references.at, 6, colours.mark, 0.9, (i) => marked.has(mine[i]));
    }
    const placed = [];
    const name = (text, x, y, colour, must) => {
      const w = 7.2 * text.length, clear = placed.every((p) => Math.abs(p[1] - y) > 16 || Math.abs(p[0] - x) > (w + p[2]) / 2);
      if (!clear && !must) return;
      placed.push([x, y, w]);
      labels.push([text, x, y, colour]);
    };
    const labels = [];
    for (const s of suspects) name(s.n.length > 28 ? s.n.slice(0, 27) + "…" : s.n, px(s.at[0]), py(s.at[1]) - 16, colours.mark, false);
    if (on.centroids) order.forEach((i) => {
      const a = data.artists[i];
      const x = px(layers.centroids.at[2 * i]), y = py(layers.centroids.at[2 * i + 1]);
      shape(a.k, x, y, marked.has(i) ? 9 : 6);
      brush.fillStyle = colours.g[a.k]; brush.fill();
      brush.strokeStyle = marked.has(i) ? colours.mark : colours.card; brush.lineWidth = marked.has(i) ? 3 : 1; brush.stroke();
      if (marked.has(i) || labels.length < 16 * zoom) name(a.n, x, y - 11, colours.ink, marked.has(i));
    });
    for (const s of suspects) {
      star(px(s.at[0]), py(s.at[1]), 13);
      brush.fillStyle = colours.mark; brush.fill();
      brush.strokeStyle = colours.card; brush.lineWidth = 1.5; brush.stroke();
    }
    for (const l of labels) label(...l);
  };
  const nearest = (mx, my) => {
    let best = 144, found = null;
    const look = (at, weight, say) => {
      for (let i = 0; i < at.length; i += 2) {
        const dx = px(at[i]) - mx, dy = py(at[i + 1]) - my, d = (dx * dx + dy * dy) * weight;
        if (d < best) { best = d; found = () => say(i / 2); }
      }
    };
    for (const s of suspects) look(s.at, 0.3, () => s.n + "\n" + s.l + ", nearest artist: " + s.a);
    if (on.centroids) look(layers.centroids.at, 0.6, (i) => data.artists[i].n + "\n" + data.artists[i].g + ", " + data.artists[i].f + " references");
    if (on.references) look(layers.references.at, 1, (i) => data.artists[layers.references.artist[i]].n + "\n" + layers.references.names[i]);
    if (on.corpus) look(layers.corpus.at, 1.5, (i) => layers.corpus.names[i]);
    return found;
  };
  const point = (event) => {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    const found = nearest(x, y);
    tip.hidden = !found;
    if (!found) return;
    tip.textContent = found();
    tip.style.left = Math.min(x + 14, Math.max(0, wide - tip.offsetWidth - 6)) + "px";
    tip.style.top = Math.max(4, Math.min(y + 14, high - tip.offsetHeight - 6)) + "px";
  };
  const zoomAt = (factor, x, y) => {
    const next = Math.min(80, Math.max(0.5, zoom * factor)), share = 1 / zoom - 1 / next;
    cx += ((x - wide / 2) / (unit * data.ratio)) * share;
    cy -= ((y - high / 2) / unit) * share;
    zoom = next;
    move();
  };
  let held = null;
  canvas.addEventListener("pointerdown", (e) => { held = [e.clientX, e.clientY, cx, cy]; canvas.setPointerCapture(e.pointerId); tip.hidden = true; });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("pointermove", (e) => {
    if (!held) return point(e);
    cx = held[2] - (e.clientX - held[0]) / (unit * data.ratio * zoom);
    cy = held[3] + (e.clientY - held[1]) / (unit * zoom);
    move();
  });
  canvas.addEventListener("wheel", (e) => {
    e.preventDefault();
    const box = canvas.getBoundingClientRect();
    zoomAt(Math.exp(-e.deltaY * 0.0015), e.clientX - box.left, e.clientY - box.top);
  }, { passive: false });
  canvas.addEventListener("keydown", (e) => {
    const step = 0.08 / zoom, moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[e.key]) { cx += moves[e.key][0]; cy += moves[e.key][1]; move(); }
    else if (e.key === "+" || e.key === "=") zoomAt(1.3, wide / 2, high / 2);
    else if (e.key === "-") zoomAt(1 / 1.3, wide / 2, high / 2);
    else return;
    e.preventDefault();
  });
  for (const name of Object.keys(on)) {
    const box = document.getElementById("l-" + name);
    if (box) box.addEventListener("change", () => { on[name] = box.checked; draw(); });
  }
  document.getElementById("whole").addEventListener("click", () => { zoom = 1; cx = cy = 0.5; draw(); });
  document.getElementById("find").addEventListener("input", (e) => {
    const text = e.target.value.trim().toLowerCase();
    marked = new Set();
    if (text.length > 1) {
      data.artists.forEach((a, i) => { if (a.n.toLowerCase().includes(text)) marked.add(i); });
      layers.references.names.forEach((n, i) => { if (n.toLowerCase().includes(text)) marked.add(layers.references.artist[i]); });
    }
    document.getElementById("found").textContent = text.length > 1 ? marked.size + " artists" : "";
    draw();
  });
  document.getElementById("tools").hidden = false;
  document.getElementById("still").hidden = true;
  canvas.hidden = false;
  palette();
  new ResizeObserver(resize).observe(canvas);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { palette(); draw(); });
})();
