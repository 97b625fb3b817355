"use strict";

const $ = (id) => document.getElementById(id);
const MOST_REASONS = 6;
let known = null; // the answer of /known
let last = null; // {key, places}: whose list is shown, and the place of each video in it
let number = 0; // of the newest question: answers to older ones are left alone

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

const words = (name) => name.replaceAll("_", " ");
const plain = (value) => (Math.abs(value) >= 1000 || Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(3));

function say(text, isWrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", isWrong);
}

// Integers of 16 digits and more are kept as text here, which numbers of JavaScript would round. Within a string of JSON
// no quote stands alone, so that nothing else looks like these fields.
const asText = (json) => json.replace(/("video_id":)(-?\d{16,})/g, '$1"$2"');
const asNumbers = (json) => json.replace(/("(?:video_id|user_id)":)"(-?\d{16,})"/g, "$1$2");

async function ask(path, body) {
  const json = body && JSON.stringify(body);
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: known.ids.user_id === "integer" ? asNumbers(json) : json,
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer.");
  }
  const found = JSON.parse(asText(await answer.text()));
  if (!answer.ok) throw new Error(found.error);
  return found;
}

// --- What is asked

function field(column) {
  const id = `given-${column.name}`;
  const label = make("label", { for: id }, words(column.name));
  if (column.type === "bool") {
    const choices = ["", "true", "false"].map((value) => make("option", { value }, value || "as stored"));
    return make("div", { class: "field" }, label, make("select", { id }, ...choices));
  }
  const isNumber = ["int64", "float"].includes(column.type);
  const input = make("input", { id, placeholder: "as stored", spellcheck: "false", autocapitalize: "off" });
  if (isNumber && !column.is_list) input.inputMode = "decimal";
  const list = make("datalist", { id: `${id}-usual` });
  if (column.usual.length) {
    input.setAttribute("list", list.id);
    list.append(...column.usual.map((value) => make("option", { value })));
  }
  const hint = column.is_list ? make("p", { class: "hint" }, "Several, with commas between.") : "";
  return make("div", { class: "field" }, label, input, column.usual.length ? list : "", hint);
}

function valueOf(text, type) {
  if (type === "bool") return text === "true";
  // Larger integers would lose their last digits; the server says what it expects in their place.
  if (type === "int64" && /^-?\d+$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  if (type === "float" && text !== "" && Number.isFinite(Number(text))) return Number(text);
  return text;
}

function question() {
  const user = $("user").value.trim();
  const given = {};
  for (const column of known.columns) {
    const text = $(`given-${column.name}`).value.trim();
    if (text === "") continue;
    const parts = text.split(",").map((part) => valueOf(part.trim(), column.type));
    given[column.name] = column.is_list ? parts : valueOf(text, column.type);
  }
  const id = known.ids.user_id === "integer" ? valueOf(user, "int64") : user;
  return { user_id: user === "" ? null : id, k: Number($("k").value), given, explain: true };
}

// --- What is answered

function bar(share, kind) {
  const inner = make("i", { class: kind });
  inner.style.width = `${Math.round(100 * Math.max(0, Math.min(1, share)))}%`;
  return make("div", { class: "track", "aria-hidden": "true" }, inner);
}

function scores(item, items) {
  const rows = [["retrieval", "retrieval_score", "part"], ["ranker", "rank_score", "part"], ["final", "score", "final"]];
  const list = make("dl", { class: "scores" });
  for (const [name, key, kind] of rows) {
    const all = items.map((each) => each[key]);
    const [low, high] = [Math.min(0, ...all), Math.max(...all)];
    const share = high > low ? (item[key] - low) / (high - low) : 1;
    list.append(make("dt", {}, name), bar(share, kind), make("dd", {}, plain(item[key])));
  }
  return list;
}

function why(item) {
  const reasons = item.because_of.slice(0, MOST_REASONS);
  const most = Math.max(...reasons.map((reason) => Math.abs(reason.contribution)), 1e-9);
  const list = make("dl", { class: "why" });
  for (const { columns, contribution } of reasons) {
    const kind = contribution < 0 ? "less" : "more";
    const track = bar(Math.abs(contribution) / most / 2, kind);
    const sign = contribution < 0 ? "−" : "+";
    const text = words(columns.split(", ").join(" · "));
    list.append(make("dt", {}, text), track, make("dd", { class: kind }, sign + Math.abs(contribution).toFixed(2)));
  }
  const rest = item.because_of.length - reasons.length;
  const note = `What these columns add to the ranker's score${rest > 0 ? `; ${rest} more weigh less` : ""}.`;
  return make("details", {}, make("summary", {}, "Why this one"), list, make("p", { class: "note" }, note));
}

function hue(text) {
  let found = 7;
  for (const letter of text) found = (found * 31 + letter.codePointAt(0)) % 360;
  return found;
}

function change(item, place, before) {
  if (!before) return "";
  const earlier = before.get(String(item.video_id));
  if (earlier === undefined) return make("small", { class: "up" }, "new");
  if (earlier === place) return "";
  const text = earlier > place ? `▲ ${earlier - place}` : `▼ ${place - earlier}`;
  return make("small", { class: earlier > place ? "up" : "down", title: `was ${earlier}` }, text);
}

function clock(seconds) {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const parts = hours ? [hours, String(minutes).padStart(2, "0")] : [minutes];
  return [...parts, String(rest).padStart(2, "0")].join(":");
}

function acts(item, asked) {
  if (!known.takes_events || asked.user_id === null) return "";
  const watched = item.video_duration === null ? {} : { watch_time: item.video_duration };
  const title = item.title || `video ${item.video_id}`;
  const button = (text, event) =>
    make("button", { type: "button", "aria-label": `${text}: ${title}`, onclick: () => happened(item, asked, text, event) }, text);
  return make(
    "div",
    { class: "acts" },
    button("Watched", { interaction_type: "watch", ...watched }),
    button("Liked", { interaction_type: "like" }),
  );
}

async function happened(item, asked, text, event) {
  const own = ++number;
  document.body.classList.add("busy");
  for (const button of document.querySelectorAll(".acts button")) button.disabled = true;
  try {
    await ask("events", { events: [{ user_id: asked.user_id, video_id: item.video_id, ...event }] });
    const found = await ask("recommend", asked);
    if (own !== number) return;
    show(found, asked);
    say(`${text}: ${item.title || `video ${item.video_id}`}. What comes next for user ${asked.user_id}:`);
    $("results").focus({ preventScroll: true });
  } catch (error) {
    if (own === number) say(error.message, true);
    for (const button of document.querySelectorAll(".acts button")) button.disabled = false;
  } finally {
    if (own === number) document.body.classList.remove("busy");
  }
}

function card(item, place, found, asked, before) {
  const items = found.items;
  const facts = make("p", { class: "facts" });
  if (item.category !== null) {
    const category = make("span", { class: "category" }, item.category);
    category.style.setProperty("--hue", hue(item.category));
    facts.append(category);
  }
  if (item.video_duration !== null) facts.append(make("span", {}, clock(item.video_duration)));
  facts.append(make("span", { class: "id" }, String(item.video_id)));
  for (const rule of item.rules) facts.append(make("span", { class: "rule" }, `${rule}, ranked ${item.rank}`));
  const title = item.title === null || item.title === "" ? `Video ${item.video_id}` : item.title;
  return make(
    "li",
    { class: "item" },
    make("p", { class: "place" }, String(place), change(item, place, before)),
    make("div", {}, make("h2", {}, title), facts),
    scores(item, items),
    make("div", { class: "below" }, why(item), acts(item, asked)),
  );
}

function stages(found) {
  const removed = Object.entries(found.removed).filter(([, count]) => count);
  const out = removed.map(([rule, count]) => `${count.toLocaleString("en")} ${rule}`).join(", ");
  const seconds = Object.values(found.seconds).reduce((sum, each) => sum + each, 0);
  const parts = [
    [known.videos, "videos"],
    [found.candidates, "candidates"],
    [found.ranked, `ranked${out ? ` (left out: ${out})` : ""}`],
    [found.items.length, "shown"],
  ];
  $("stages").replaceChildren(
    ...parts.map(([count, name]) => make("li", {}, make("b", {}, count.toLocaleString("en")), ` ${name}`)),
    make("li", {}, make("b", {}, (1000 * seconds).toFixed(0)), " ms"),
  );
  $("stages").hidden = false;
}

function show(found, asked) {
  const key = JSON.stringify([asked.user_id, asked.given]);
  const before = last && last.key === key ? last.places : null;
  const who = asked.user_id === null ? "someone unknown" : `user ${asked.user_id}`;
  const isNew = asked.user_id !== null && !found.is_known ? ", of whom nothing is known yet" : "";
  say(found.items.length ? `For ${who}${isNew}` : `There is nothing left to recommend to ${who}.`);
  $("items").replaceChildren(...found.items.map((item, row) => card(item, row + 1, found, asked, before)));
  stages(found);
  last = { key, places: new Map(found.items.map((item, row) => [String(item.video_id), row + 1])) };
  served(found.version);
}

function served(version) {
  $("served").textContent = `export ${version}, ${known.videos.toLocaleString("en")} videos`;
}

async function recommend() {
  const own = ++number;
  document.body.classList.add("busy");
  try {
    const asked = question();
    const hash = asked.user_id === null ? "" : `#user=${encodeURIComponent(asked.user_id)}`;
    history.replaceState(null, "", hash || location.pathname);
    const found = await ask("recommend", asked);
    if (own === number) show(found, asked);
  } catch (error) {
    if (own === number) say(error.message, true);
  } finally {
    if (own === number) document.body.classList.remove("busy");
  }
}

// --- The beginning

async function begin() {
  try {
    known = await ask("known");
  } catch (error) {
    say(error.message, true);
    return;
  }
  $("users").append(...known.users.map((value) => make("option", { value })));
  $("columns").append(...known.columns.map(field));
  served(known.version);
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    recommend();
  });
  const asked = new URLSearchParams(location.hash.slice(1)).get("user");
  $("user").value = asked ?? known.users[0] ?? "";
  await recommend();
}

begin();
