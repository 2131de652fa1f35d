"use strict";

// The map: the nearest dot to where one points, or the next one in the direction of an arrow key.
for (const map of document.querySelectorAll(".map")) {
  const drawing = map.querySelector("svg");
  const ring = map.querySelector(".ring");
  const card = map.querySelector(".card");
  const [picture, words] = [card.querySelector("img"), card.querySelector("p")];
  const [columns, rows] = [Number(card.dataset.columns), Number(card.dataset.rows)];
  const side = drawing.viewBox.baseVal.width;
  const dots = [...drawing.querySelectorAll("circle[data-row]")].map((circle) => ({
    x: circle.cx.baseVal.value,
    y: circle.cy.baseVal.value,
    row: Number(circle.dataset.row),
    text: circle.dataset.text,
    group: circle.parentNode.dataset.group,
  }));
  let chosen = null;
  let only = null;
  document.querySelector("#map-help").hidden = false;

  const shown = () => dots.filter((dot) => only === null || dot.group === only);

  const choose = (dot) => {
    chosen = dot;
    card.hidden = dot === null;
    ring.setAttribute("visibility", dot ? "visible" : "hidden");
    if (!dot) return;
    ring.setAttribute("cx", dot.x);
    ring.setAttribute("cy", dot.y);
    words.textContent = dot.text;
    picture.style.width = `${100 * columns}%`;
    picture.style.height = `${100 * rows}%`;
    picture.style.left = `${-100 * (dot.row % columns)}%`;
    picture.style.top = `${-100 * Math.floor(dot.row / columns)}%`;
    const scale = drawing.clientWidth / side;
    const [left, top] = [dot.x * scale, dot.y * scale];
    const beside = left + 14 + card.offsetWidth > map.clientWidth ? left - 14 - card.offsetWidth : left + 14;
    card.style.left = `${Math.max(0, beside)}px`;
    card.style.top = `${Math.max(0, Math.min(top - card.offsetHeight / 2, map.clientHeight - card.offsetHeight))}px`;
  };

  const nearest = (x, y, reach = Infinity) => {
    let [best, least] = [null, reach * reach];
    for (const dot of shown()) {
      const far = (dot.x - x) ** 2 + (dot.y - y) ** 2;
      if (far < least) [best, least] = [dot, far];
    }
    return best;
  };

  const pointed = (event) => {
    const box = drawing.getBoundingClientRect();
    const scale = side / box.width;
    return nearest((event.clientX - box.left) * scale, (event.clientY - box.top) * scale, 20 * scale);
  };

  const towards = (dx, dy) => {
    let [best, least] = [chosen, Infinity];
    for (const dot of shown()) {
      const along = (dot.x - chosen.x) * dx + (dot.y - chosen.y) * dy;
      const across = Math.abs((dot.x - chosen.x) * dy) + Math.abs((dot.y - chosen.y) * dx);
      if (along > 0 && across <= along && along + 2 * across < least) {
        [best, least] = [dot, along + 2 * across];
      }
    }
    return best;
  };

  const middle = () => nearest(side / 2, side / 2);
  const keys = {
    ArrowLeft: () => (chosen ? towards(-1, 0) : middle()),
    ArrowRight: () => (chosen ? towards(1, 0) : middle()),
    ArrowUp: () => (chosen ? towards(0, -1) : middle()),
    ArrowDown: () => (chosen ? towards(0, 1) : middle()),
    Enter: middle,
    Escape: () => null,
  };
  map.addEventListener("keydown", (event) => {
    const key = keys[event.key];
    if (!key || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    choose(key());
  });
  map.addEventListener("focus", () => {
    if (map.matches(":focus-visible") && !chosen) choose(middle());
  });
  map.addEventListener("blur", () => choose(null));
  drawing.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse") choose(pointed(event));
  });
  map.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") choose(null);
  });
  drawing.addEventListener("click", (event) => choose(pointed(event)));

  // A group's button leaves the others pale, and out of reach.
  const buttons = [...document.querySelectorAll(".keys button")];
  for (const button of buttons) {
    button.disabled = false;
    button.addEventListener("click", () => {
      only = button.dataset.group === only ? null : button.dataset.group;
      for (const other of buttons) {
        other.setAttribute("aria-pressed", String(other.dataset.group === only));
      }
      for (const group of drawing.querySelectorAll("g[data-group]")) {
        group.classList.toggle("pale", only !== null && group.dataset.group !== only);
      }
      choose(null);
    });
  }
}

// Text to be copied; where there is no clipboard, it is chosen, and the keyboard's own copy does it.
for (const button of document.querySelectorAll("button[data-copies]")) {
  const text = document.getElementById(button.dataset.copies);
  const status = button.nextElementSibling;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      status.textContent = "Copied.";
    } catch {
      text.closest("details")?.setAttribute("open", "");
      getSelection().selectAllChildren(text);
      const done = document.execCommand("copy");
      status.textContent = done ? "Copied." : "It is selected: copy it with Ctrl+C or ⌘C.";
    }
  });
}
