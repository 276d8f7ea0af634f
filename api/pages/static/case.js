/* One case: its lights go on by themselves, and the page says when somebody else has taken a step. */
import {keepTime} from "./lights.js";
import {follow} from "./stream.js";
import {t} from "./words.js";

const {id, seq} = document.getElementById("case").dataset;
let isSending = false, isTyped = document.querySelector("[role=alert]") !== null;

/* Nothing that somebody is writing is thrown away: only an untouched page is opened anew. */
const goOn = () => {
  if (isSending) return; // it is this page's own step, and its answer leads on
  if (isTyped || document.querySelector("main form [type=file]")?.files.length) document.getElementById("gone-on").hidden = false;
  else location.replace(`/cases/${id}`);
};

const check = async () => {
  const response = await fetch(`/api/v1/cases/${id}`).catch(() => null);
  if (response?.ok && String((await response.json()).seq) !== seq) goOn();
};

/* A photo that is too large is said before it is sent; of camera and album the one used last counts. */
for (const input of document.querySelectorAll("input[name=photo]")) {
  input.addEventListener("change", () => {
    const form = input.form, file = input.files[0], told = form.querySelector(".chosen");
    for (const other of form.querySelectorAll("input[name=photo]")) if (other !== input) other.value = "";
    const isTooLarge = file && file.size > Number(input.dataset.max);
    input.setCustomValidity(isTooLarge ? t("照片超过10 MB。") : "");
    told.textContent = file ? `${isTooLarge ? t("照片超过10 MB。") : "✓"} ${file.name}` : "";
  });
}

/* A reason is needed where the unit is not the one proposed. */
for (const input of document.querySelectorAll("[data-proposed]:not([data-proposed=''])")) {
  const reason = input.form.elements.reason;
  input.addEventListener("input", () => {
    reason.required = input.value !== input.dataset.proposed;
  });
}

for (const form of document.querySelectorAll("main form")) {
  form.addEventListener("input", () => {
    isTyped = true;
  });
  form.addEventListener("submit", () => {
    isSending = true;
    setTimeout(() => {
      for (const button of form.querySelectorAll("button")) button.disabled = true;
    });
  });
}
addEventListener("pageshow", () => {
  isSending = false;
  for (const button of document.querySelectorAll("main form button")) button.disabled = false;
});

keepTime();
follow({onCase: (event) => String(event.id) === id && String(event.seq) !== seq && goOn(), onReload: check});
