/* Lights go on by themselves: each case tells when its colour changes, and a timer waits for the next one. */
import {t} from "./words.js";

const WORDS = {blue: t("蓝灯·正常"), yellow: t("黄灯·过半"), orange: t("橙灯·将到期"), red: t("红灯·超时")};
const AT_LEAST_EVERY_MS = 30000, MINUTE_MS = 60000;

/* What the server's clock says, whatever this device's says. */
let ahead = 0;
const now = () => Date.now() + ahead;

const lightAt = ({yellow, orange, red}, at) => {
  const isPast = (time) => time && Date.parse(time) <= at;
  return isPast(red) ? "red" : isPast(orange) ? "orange" : isPast(yellow) ? "yellow" : "blue";
};

const show = (node, light) => {
  node.dataset.light = light;
  node.querySelector(".lamp").className = `lamp ${light}`;
  node.querySelector("b").textContent = WORDS[light];
  const row = node.closest("li[data-id]");
  if (row) row.className = light;
};

const span = (ms) => {
  const minutes = Math.floor(ms / MINUTE_MS), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (days) return t("{d}天{h}小时", {d: days, h: hours % 24});
  return hours ? t("{h}小时{m}分", {h: hours, m: minutes % 60}) : t("{m}分钟", {m: Math.max(minutes, 1)});
};

const tellDue = (node, at) => {
  const left = Date.parse(node.dataset.due) - at;
  node.querySelector("b").textContent = left > 0 ? t("还剩{span}", {span: span(left)}) : t("已超时{span}", {span: span(-left)});
  node.classList.toggle("over", left <= 0);
};

let timer;
const tick = () => {
  clearTimeout(timer);
  const at = now();
  let next = at + AT_LEAST_EVERY_MS;
  for (const node of document.querySelectorAll(".light[data-light]:not([data-light=''])")) {
    const light = lightAt(node.dataset, at);
    if (light !== node.dataset.light) show(node, light);
    for (const name of ["yellow", "orange", "red"]) {
      const change = Date.parse(node.dataset[name]);
      if (change > at) next = Math.min(next, change + 50);
    }
  }
  for (const node of document.querySelectorAll("[data-due]")) tellDue(node, at);
  timer = setTimeout(tick, next - at);
};

/* Begin, or begin anew after the page has changed; the page says what time it is where it was made. */
export const keepTime = () => {
  const said = document.querySelector("[data-now]");
  if (said) ahead = Date.parse(said.dataset.now) - Date.now();
  tick();
};
