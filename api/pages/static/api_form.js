/* Forms that are sent to the API as JSON: what it refuses is told beside the fields, and nothing that was typed is lost.

Until this script runs their buttons are disabled, and `method="dialog"` keeps a browser from putting what was typed into an
address. `data-post` is where to, `data-then` which page follows; without one, the answer is handed to `onAnswer`. A field's
`data-as` says what it is in JSON: `list` (words) or `instant` (on the clock of the zone that it names); a text without. */
import {faultsOn} from "./faults.js";
import {t} from "./words.js";

const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";

/* The instant that a wall clock's reading in a zone stands for. */
export const instantOf = (reading, zone) => {
  const asUtc = Date.parse(`${reading}Z`);
  const shown = new Intl.DateTimeFormat("en-CA", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit",
  });
  const readingOf = (at) => {
    const part = Object.fromEntries(shown.formatToParts(at).map(({type, value}) => [type, value]));
    return Date.parse(`${part.year}-${part.month}-${part.day}T${part.hour}:${part.minute}Z`);
  };
  const ahead = readingOf(asUtc) - asUtc;
  // Once more from there: the clocks may change in between.
  return new Date(asUtc - (readingOf(asUtc - ahead) - (asUtc - ahead))).toISOString();
};

const valueOf = (field, values) => {
  if (field.dataset.as === "list") return values.flatMap((value) => value.split(/[\s,，、;；]+/)).filter(Boolean);
  if (field.dataset.as === "instant") return values[0] && instantOf(values[0], field.dataset.zone);
  return values[0].trim();
};

const bodyOf = (form) => {
  const sent = new FormData(form), body = {};
  for (const name of new Set(sent.keys())) {
    const [field] = [form.elements[name]].flatMap((one) => one instanceof RadioNodeList ? [...one] : [one]);
    const value = valueOf(field, sent.getAll(name));
    if (value !== "" && value !== undefined) body[name] = value;
  }
  return body;
};

/* To another page, or to this one as it is now: a new fragment alone would load nothing. */
const goOn = (address) => {
  const to = new URL(address, location.href);
  const isHere = to.pathname + to.search === location.pathname + location.search;
  if (isHere) history.replaceState(null, "", to);
  if (isHere) location.reload();
  else location.assign(to);
};

const send = async (form, onAnswer) => {
  const note = form.querySelector(".form-note"), button = form.querySelector("button");
  const tell = (text) => {
    note.textContent = text;
    note.hidden = !text;
  };
  const {showFaults} = faultsOn(form, {}, (elsewhere) =>
    tell(elsewhere.length ? t("没有办成：{why}", {why: elsewhere.map(({message}) => message).join(t("；"))}) : ""));
  showFaults([]);
  button.disabled = true;
  try {
    const headers = {"Content-Type": "application/json", "X-CSRF-Token": csrf};
    const response = await fetch(form.dataset.post, {method: "POST", headers, body: JSON.stringify(bodyOf(form))});
    const answer = await response.json();
    if (!response.ok) showFaults(answer.fields?.length ? answer.fields : [{field: "", message: answer.message}]);
    else if (form.dataset.then) goOn(form.dataset.then.replace("{id}", answer.id ?? ""));
    else onAnswer(form, answer);
  } catch {
    tell(t("没有办成：现在连不上服务器，请再试一次。"));
  } finally {
    button.disabled = false;
  }
};

export const sendForms = (onAnswer) => {
  for (const form of document.querySelectorAll("form[data-post]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      send(form, onAnswer);
    });
    form.querySelector("button").disabled = false;
    form.dataset.ready = "true";
  }
};
