/* The board follows what happens: rows that change are fetched anew and marked for a moment. */
import {keepTime} from "./lights.js";
import {follow} from "./stream.js";
import {t} from "./words.js";

const WAIT_MS = 300, MARKED_MS = 4000;
const note = document.getElementById("stream-note");
const list = () => document.getElementById("list");
let timer, isFetching = false, isAskedAgain = false;

const seqs = () => new Map([...document.querySelectorAll("#list li[data-id]")].map(({dataset}) => [dataset.id, dataset.seq]));

const put = (html) => {
  const before = seqs(), focused = document.activeElement?.closest("#list a")?.getAttribute("href");
  const made = new DOMParser().parseFromString(html, "text/html").getElementById("list");
  if (!made) return;
  list().replaceWith(document.adoptNode(made));
  for (const row of document.querySelectorAll("#list li[data-id]")) {
    if (before.get(row.dataset.id) === row.dataset.seq) continue;
    row.classList.add("changed");
    setTimeout(() => row.classList.remove("changed"), MARKED_MS);
  }
  if (focused) document.querySelector(`#list a[href="${CSS.escape(focused)}"]`)?.focus();
  keepTime();
};

const refresh = async () => {
  if (isFetching) {
    isAskedAgain = true;
    return;
  }
  isFetching = true;
  try {
    const query = new URLSearchParams(location.search);
    query.set("part", "list");
    const response = await fetch(`/cases?${query}`);
    if (response.ok) put(await response.text());
  } catch {
    tell(false);
  } finally {
    isFetching = false;
    if (isAskedAgain) soon();
    isAskedAgain = false;
  }
};
const soon = () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, WAIT_MS);
};

const tell = (isConnected) => {
  note.hidden = isConnected;
  note.textContent = isConnected ? "" : t("与服务器的连接断了，正在重连；下面可能不是最新的。");
};

/* Whether a step can change what is shown: its case is here, or may come in by the filters of place and unit. */
const concerns = ({id, ground, unit}) => {
  const asked = new URLSearchParams(location.search);
  if (document.querySelector(`#list li[data-id="${id}"]`)) return true;
  return ["town", "grid"].every((name) => !asked.get(name) || ground.includes(asked.get(name))) &&
    (!asked.get("unit") || asked.get("unit") === unit);
};

keepTime();
follow({onCase: (event) => concerns(event) && soon(), onReload: soon, onState: tell});
