/* What is wrong with a form, each told beside its field.

`place` says beside which field the faults of another stand; `tellElsewhere` is given those that have none. */
export const faultsOn = (form, place, tellElsewhere) => {
  const showFault = (field, message) => {
    const node = form.querySelector(`[data-for="${CSS.escape(field)}"]`);
    if (!node) return false;
    node.textContent = message;
    node.hidden = !message;
    return true;
  };
  const showFaults = (faults) => {
    for (const node of form.querySelectorAll(".field-error")) node.hidden = true;
    tellElsewhere(faults.filter(({field, message}) => !showFault(place[field] ?? field, message)));
    form.querySelector(".field-error:not([hidden])")?.scrollIntoView({block: "center"});
  };
  return {showFault, showFaults};
};
