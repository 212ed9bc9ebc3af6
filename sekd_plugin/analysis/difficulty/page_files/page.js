"use strict";
(() => {
  const PER_PAGE = 25;
  const data = JSON.parse(document.getElementById("data").textContent);
  const sentences = data.shown.items;
  const pieces = data.shown.pieces;
  const at = (name) => document.getElementById(name);

  // ── Small things ───────────────────────────────────────────────────────────────────────────

  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  };
  const percent = (share) => {
    const value = 100 * share;
    if (value === 0 || value >= 9.95) return value.toFixed(0) + " %";
    if (value < 0.001) return "< 0.001 %";
    return (value >= 0.095 ? Number(value.toFixed(1)) : Number(value.toPrecision(1))) + " %";
  };
  const short = (value) => (value === null ? "∞" : String(Number(value.toPrecision(3))));
  const finite = (value) => (value === null ? Infinity : value);
  const shownPiece = (text) =>
    text.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅";

  // ── What is chosen: it stands in the address, so that a view can be kept ────────────────────

  const DEFAULTS = {
    column: "0", ratio: String(data.reference.ratio), sort: "order", direction: "down",
    text: "", share: "0", hard: "0", word: "", page: "1",
  };
  let chosen = { ...DEFAULTS };

  const readAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    chosen = { ...DEFAULTS };
    for (const name of Object.keys(DEFAULTS)) {
      if (given.has(name)) chosen[name] = given.get(name);
    }
    if (!data.columns[chosen.column]) chosen.column = DEFAULTS.column;
    if (!gammas().has(chosen.ratio)) chosen.ratio = DEFAULTS.ratio;
  };
  const writeAddress = () => {
    const different = Object.entries(chosen).filter(([name, value]) => value !== DEFAULTS[name]);
    const text = new URLSearchParams(different).toString();
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  };
  const choose = (changes) => {
    chosen = { ...chosen, page: "1", ...changes };
    writeAddress();
    show();
  };

  // ── Difficulty ─────────────────────────────────────────────────────────────────────────────

  const column = () => data.columns[chosen.column];
  const gammas = () =>
    new Map(column().hard.map((each) => [String(each.ratio), finite(each.gamma)]));
  const gamma = () => gammas().get(chosen.ratio);
  const difficulties = (sentence) => sentence.difficulty[chosen.column].map(finite);
  const levelOf = (value) => column().levels.filter((edge) => value > finite(edge)).length;
  const columnName = (each) =>
    each.divergence + " at " + data.checkpoints[each.checkpoint].name;

  const measured = () => {
    const limit = gamma();
    return sentences.map((sentence, number) => {
      const values = difficulties(sentence);
      const hard = values.filter((value) => value > limit).length;
      return {
        number, sentence, values, hard,
        order: -number, // so that "high to low" is the order of the file
        difficulty: values.reduce((sum, value) => sum + value, 0) / values.length,
        hardest: Math.max(...values),
        share: hard / values.length,
        length: values.length,
      };
    });
  };
  const filtered = () => {
    const text = chosen.text.toLowerCase();
    const word = chosen.word === "" ? null : Number(chosen.word);
    const least = Number(chosen.share) / 100 || 0;
    const sign = chosen.direction === "up" ? 1 : -1;
    const key = chosen.sort in { difficulty: 1, hardest: 1, share: 1, length: 1 }
      ? chosen.sort : "order";
    return measured()
      .filter(({ sentence, hard, share }) =>
        (chosen.hard !== "1" || hard > 0) && share >= least &&
        (word === null || sentence.words.includes(word)) &&
        (text === "" || sentence.source.toLowerCase().includes(text) ||
          sentence.target.toLowerCase().includes(text)))
      .sort((a, b) => sign * (a[key] - b[key]) || a.number - b.number);
  };

  // ── The list ───────────────────────────────────────────────────────────────────────────────

  const drawToken = (parent, entry, place) => {
    const { sentence, values, number } = entry;
    const id = sentence.words[place];
    const text = pieces[id];
    if (text.startsWith(" ") && place > 0) parent.append(" ");
    const token = make("span", text.trim() === "" ? shownPiece(text) : text.trim(), "token");
    const level = levelOf(values[place]);
    if (level) token.classList.add("l" + level);
    const hard = values[place] > gamma();
    token.classList.toggle("is-hard", hard);
    token.classList.toggle("is-word", chosen.word !== "" && Number(chosen.word) === id);
    token.tabIndex = place === 0 ? 0 : -1;
    token.setAttribute("role", "button");
    token.setAttribute("aria-label",
      `${text.trim()}, difficulty ${short(sentence.difficulty[chosen.column][place])}` +
      (hard ? ", hard" : ""));
    token.dataset.sentence = number;
    token.dataset.place = place;
    parent.append(token);
  };
  const drawSentence = (entry) => {
    const { sentence, hard, length, difficulty } = entry;
    const pair = make("section", undefined, "pair");
    pair.append(make("p",
      `${sentence.file}:${sentence.line} · ${hard} of ${length} hard · mean ` +
      `${Number.isFinite(difficulty) ? short(difficulty) : "∞"} · ${sentence.source}`, "soft"));
    const target = make("p", undefined, "target");
    for (let place = 0; place < length; place += 1) drawToken(target, entry, place);
    pair.append(target);
    return pair;
  };
  const drawKey = () => {
    const key = at("key");
    key.replaceChildren(make("span", "difficulty above"));
    column().levels.forEach((edge, number) => {
      key.append(make("span", short(edge), "token l" + (number + 1)));
    });
    key.append(make("span", `underlined: hard, above Γ = ${short(gamma())}`, "token is-hard"));
  };
  const show = () => {
    hideDetail();
    const found = filtered();
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    const page = Math.min(Math.max(1, Number(chosen.page) || 1), pages);
    at("list").replaceChildren(
      ...found.slice((page - 1) * PER_PAGE, page * PER_PAGE).map(drawSentence));
    at("count").textContent =
      `${found.length.toLocaleString("en")} of ${sentences.length.toLocaleString("en")} sentences` +
      (sentences.length < data.sentences
        ? `; the page holds the first of ${data.sentences.toLocaleString("en")}` : "");
    at("page").textContent = `page ${page} of ${pages}`;
    at("previous").disabled = page <= 1;
    at("next").disabled = page >= pages;
    drawKey();
    showControls();
  };

  // ── The controls ───────────────────────────────────────────────────────────────────────────

  const showControls = () => {
    at("ratio").replaceChildren(...[...gammas()].sort(([a], [b]) => a - b).map(([ratio, limit]) => {
      const shown = Number.isFinite(limit) ? short(limit) : "∞";
      const option = make("option", `above Γ = ${shown}, ${percent(Number(ratio))}`);
      option.value = ratio;
      return option;
    }));
    for (const name of ["column", "ratio", "sort", "direction", "text", "share"]) {
      if (at(name).value !== chosen[name]) at(name).value = chosen[name];
    }
    at("hard").checked = chosen.hard === "1";
    at("word").hidden = chosen.word === "";
    if (chosen.word !== "") {
      const clear = make("button", "all sentences");
      clear.type = "button";
      clear.addEventListener("click", () => choose({ word: "" }));
      const text = pieces[chosen.word];
      at("word").replaceChildren(
        `with the piece ${text === undefined ? chosen.word : shownPiece(text)} `, clear);
    }
  };
  const turn = (by) => {
    choose({ page: String((Number(chosen.page) || 1) + by) });
    at("sentences").scrollIntoView();
  };
  const listen = () => {
    data.columns.forEach((each, number) => {
      const option = make("option", columnName(each));
      option.value = String(number);
      at("column").append(option);
    });
    at("controls").addEventListener("submit", (event) => event.preventDefault());
    for (const name of ["ratio", "sort", "direction", "text", "share"]) {
      at(name).addEventListener("input", () => choose({ [name]: at(name).value }));
    }
    at("column").addEventListener("input", () => {
      chosen.column = at("column").value;
      choose({});
    });
    at("hard").addEventListener("input", () => choose({ hard: at("hard").checked ? "1" : "0" }));
    at("previous").addEventListener("click", () => turn(-1));
    at("next").addEventListener("click", () => turn(1));
    addEventListener("hashchange", () => {
      if (!location.hash.includes("=")) return; // a place on the page
      readAddress();
      show();
      if (chosen.word !== "") at("sentences").scrollIntoView();
    });
  };

  // ── What is known of a token: shown where the pointer or the focus is ───────────────────────

  const listing = (sentence, place) => {
    const gold = sentence.words[place];
    const table = make("table", undefined, "likeliest");
    const head = table.createTHead().insertRow();
    head.append(make("th", "teacher"), make("th", "p"), make("th", "student"), make("th", "q"));
    const body = table.createTBody();
    const models = [sentence.teacher, sentence.student];
    models[0].words[place].forEach((_, number) => {
      const row = body.insertRow();
      for (const model of models) {
        const id = model.words[place][number];
        const cell = row.insertCell();
        cell.textContent = shownPiece(pieces[id]) + (id === gold ? " (gold)" : "");
        cell.classList.toggle("is-gold", id === gold);
        row.insertCell().textContent = percent(model.thousandths[place][number] / 1000);
      }
    });
    return table;
  };
  const difficultyTable = (sentence, place) => {
    const table = make("table");
    const last = data.checkpoints.length - 1;
    const body = table.createTBody();
    data.columns.forEach((each, number) => {
      const value = sentence.difficulty[number][place];
      const limit = finite(each.hard.find((h) => String(h.ratio) === chosen.ratio).gamma);
      const row = body.insertRow();
      row.insertCell().textContent = each.checkpoint === last
        ? each.divergence : data.checkpoints[each.checkpoint].name;
      row.insertCell().textContent = short(value);
      row.insertCell().textContent = finite(value) > limit ? "hard" : "easy";
    });
    return table;
  };
  const fillDetail = (sentence, place) => {
    at("detail").replaceChildren(
      make("h3", `gold: ${shownPiece(pieces[sentence.words[place]])}`),
      make("p", `p(gold) ${percent(sentence.teacher.gold[place])} · q(gold) ` +
        `${percent(sentence.student.gold[place])} · H(p) ${short(sentence.entropy[place])} nats · ` +
        `token ${place + 1} of ${sentence.words.length}`),
      listing(sentence, place),
      difficultyTable(sentence, place));
  };
  let open = null;
  const hideDetail = () => {
    if (open) open.classList.remove("is-open");
    open = null;
    at("detail").hidden = true;
  };
  const showDetail = (token) => {
    hideDetail();
    open = token;
    token.classList.add("is-open");
    fillDetail(sentences[token.dataset.sentence], Number(token.dataset.place));
    const detail = at("detail");
    detail.hidden = false;
    const room = token.getBoundingClientRect();
    const left = Math.min(room.left, innerWidth - detail.offsetWidth - 8);
    const below = room.bottom + 8;
    const fits = below + detail.offsetHeight < innerHeight;
    detail.style.left = Math.max(8, left) + "px";
    detail.style.top = (fits ? below : Math.max(8, room.top - detail.offsetHeight - 8)) + "px";
    const cover = detail.getBoundingClientRect();
    const hidden = room.bottom > cover.top && room.top < cover.bottom &&
      room.right > cover.left && room.left < cover.right;
    if (hidden) scrollBy(0, room.bottom + 12 - cover.top); // on a phone it lies at the bottom
  };
  const tokenAt = (event) => event.target.closest && event.target.closest(".token[data-place]");
  const listenToTokens = () => {
    const list = at("list");
    list.addEventListener("mouseover", (event) => {
      const token = tokenAt(event);
      if (token) showDetail(token);
    });
    list.addEventListener("mouseout", (event) => {
      if (tokenAt(event) && document.activeElement !== open) hideDetail();
    });
    list.addEventListener("focusin", (event) => {
      const token = tokenAt(event);
      if (token) showDetail(token);
    });
    list.addEventListener("focusout", hideDetail);
    list.addEventListener("click", (event) => {
      const token = tokenAt(event);
      if (token) token.focus();
    });
    list.addEventListener("keydown", (event) => {
      const token = tokenAt(event);
      if (!token) return;
      if (event.key === "Escape") token.blur();
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const all = [...token.parentElement.querySelectorAll(".token")];
      const next = all[all.indexOf(token) + step];
      if (!next) return;
      token.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
  };

  // ── Tables that a heading sorts ────────────────────────────────────────────────────────────

  const asNumber = (cell) => {
    const text = cell.textContent.replaceAll(",", "").replace("∞", "Infinity");
    return Number.parseFloat(text);
  };
  const sortTables = () => {
    for (const table of document.querySelectorAll(".sortable table")) {
      [...table.tHead.rows[0].cells].forEach((cell, place) => {
        const button = make("button", cell.textContent);
        button.type = "button";
        button.addEventListener("click", () => {
          const down = cell.getAttribute("aria-sort") !== "descending";
          for (const other of cell.parentElement.cells) other.removeAttribute("aria-sort");
          cell.setAttribute("aria-sort", down ? "descending" : "ascending");
          const rows = [...table.tBodies[0].rows];
          const compare = (a, b) => place === 0
            ? b.cells[0].textContent.localeCompare(a.cells[0].textContent)
            : asNumber(b.cells[place]) - asNumber(a.cells[place]);
          rows.sort((a, b) => (down ? 1 : -1) * compare(a, b));
          table.tBodies[0].append(...rows);
        });
        cell.replaceChildren(button);
      });
    }
  };

  readAddress();
  listen();
  listenToTokens();
  sortTables();
  show();
})();
