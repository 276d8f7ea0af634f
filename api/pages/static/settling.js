/* Pages with forms to the API; where a sealed name is opened, it is shown on the page and nowhere else. */
import {sendForms} from "./api_form.js";
import {make, t} from "./words.js";

sendForms((form, {name, phone, readings}) => {
  const box = form.querySelector(".opened");
  const when = new Intl.DateTimeFormat("sv-SE", {timeZone: form.dataset.zone, dateStyle: "short", timeStyle: "short"});
  const lines = readings.map(({who, at, reason}) =>
    make("li", {text: `${when.format(new Date(at))} · ${who.split(":").pop()} · ${reason}`}));
  box.replaceChildren(
    make("p", {className: "post", text: [name, phone].filter(Boolean).join(" · ")}),
    make("p", {className: "fine", text: t("查看记录（共{n}次）", {n: readings.length})}),
    make("ul", {}, ...lines),
  );
  box.hidden = false;
  form.reset();
});
