// Tables sort by a click, or Enter, on a header. Without this script they keep the order of the study.
document.querySelectorAll("table.sortable").forEach((table) => {
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  const original = [...body.rows];
  const value = (row, index) => row.cells[index].dataset.value ?? row.cells[index].textContent.trim();
  const compare = (one, other) => {
    if (one === other) return 0;
    if (one === "nan" || one === "-") return null; // absent values stay last, whichever way is up
    if (other === "nan" || other === "-") return -Infinity;
    const difference = Number(one) - Number(other);
    return Number.isNaN(difference) ? one.localeCompare(other) : difference;
  };
  headers.forEach((header, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[header.getAttribute("aria-sort") ?? "none"];
      headers.forEach((each) => each.removeAttribute("aria-sort"));
      if (order !== "none") header.setAttribute("aria-sort", order);
      const sorted = order === "none" ? original : [...original].sort((one, other) => {
        const found = compare(value(one, index), value(other, index));
        if (found === null) return 1;
        if (found === -Infinity) return -1;
        return order === "ascending" ? found : -found;
      });
      body.append(...sorted);
    });
  });
});
