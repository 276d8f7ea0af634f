/* A choice takes effect at once; dates wait for the button, since they are typed digit by digit. */
"use strict";

for (const form of document.querySelectorAll("form.choices")) {
  form.addEventListener("change", (event) => {
    if (event.target.matches("select, input[type=radio]")) form.requestSubmit();
  });
}
