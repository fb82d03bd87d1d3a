"use strict";

// Sliders: the pointer anywhere on the pictures, or the arrow keys.
for (const slider of document.querySelectorAll(".slider")) {
  const range = slider.querySelector("input");
  const show = () => slider.style.setProperty("--cut", `${range.value}%`);
  const follow = (event) => {
    const box = slider.getBoundingClientRect();
    range.value = (100 * (event.clientX - box.left)) / box.width;
    show();
  };
  range.addEventListener("input", show);
  slider.addEventListener("pointerdown", (event) => {
    slider.setPointerCapture(event.pointerId);
    event.preventDefault();
    range.focus({ preventScroll: true });
    follow(event);
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) follow(event);
  });
  show();
}

// The two pictures of a slider, chosen among those below it.
for (const chooser of document.querySelectorAll(".chooser")) {
  const slider = chooser.closest(".overlay").querySelector(".slider");
  const [left, right] = slider.querySelectorAll("img");
  const tags = slider.querySelectorAll(".tag");
  const selects = [...chooser.querySelectorAll("select")];
  const show = () => {
    [left, right].forEach((image, side) => {
      const chosen = document.getElementById(selects[side].value);
      image.src = chosen.src;
      image.alt = chosen.alt;
      tags[side].textContent = chosen.dataset.tag;
    });
  };
  selects.forEach((select) => select.addEventListener("change", show));
  show();
}

// Tables: a click on a head sorts by its column, a second one in reverse.
for (const table of document.querySelectorAll(".sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => {
    const text = row.cells[column].dataset.value;
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (typeof a === typeof b && typeof a === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  heads.forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => (down ? -1 : 1) * compare(value(a, column), value(b, column)));
      table.tBodies[0].append(...rows);
    });
  });
}

// Curves: the values at the pointer.
for (const plot of document.querySelectorAll(".plot[data-axes]")) {
  const axes = JSON.parse(plot.dataset.axes);
  const [low, high, start, end] = axes.x;
  const svg = plot.querySelector("svg");
  const guide = plot.querySelector(".guide");
  const at = plot.querySelector(".at");
  const outputs = [...plot.querySelectorAll("output")].map((output) => ({
    output,
    points: JSON.parse(output.dataset.curve),
  }));
  const nearest = (points, x) =>
    points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
  const show = (x) => {
    const along = start + ((x - low) / (high - low)) * (end - start);
    guide.setAttribute("x1", along);
    guide.setAttribute("x2", along);
    guide.style.visibility = "visible";
    for (const { output, points } of outputs) output.textContent = nearest(points, x)[1].toFixed(1);
  };
  svg.addEventListener("pointermove", (event) => {
    const here = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const wanted = low + ((here.x - start) / (end - start)) * (high - low);
    const x = nearest(outputs.flatMap(({ points }) => points), wanted)[0];
    show(x);
    at.textContent = `at ${axes.label.replace("steps", "step")} ${Math.round(x).toLocaleString("en")}`;
  });
  svg.addEventListener("pointerleave", () => {
    guide.style.visibility = "hidden";
    for (const { output, points } of outputs) output.textContent = points.at(-1)[1].toFixed(1);
    at.textContent = at.dataset.end;
  });
}

// Print all folded details.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

// No automatic motion for readers whose system asks for less.
if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
  for (const video of document.querySelectorAll("video")) {
    video.autoplay = false;
    video.pause();
  }
}
