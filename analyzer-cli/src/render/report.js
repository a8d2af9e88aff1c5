"use strict";
(function () {
  const status = document.getElementById("copied");
  for (const block of document.querySelectorAll("pre.copy")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", "Copy: " + block.getAttribute("aria-label"));
    button.addEventListener("click", function () {
      const done = function () {
        button.textContent = "Copied";
        status.textContent = "Copied";
        setTimeout(function () {
          button.textContent = "Copy";
          status.textContent = "";
        }, 2000);
      };
      const select = function () {
        getSelection().selectAllChildren(block);
        status.textContent = "Selected";
      };
      if (navigator.clipboard) {
        navigator.clipboard.writeText(block.textContent).then(done, select);
      } else {
        select();
      }
    });
    block.before(button);
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const heads = Array.from(table.tHead.rows[0].cells);
    const value = function (row, column) {
      const cell = row.cells[column];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    heads.forEach(function (head, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      button.addEventListener("click", function () {
        // Numbers largest first, text from A.
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const second = first === "ascending" ? "descending" : "ascending";
        const order = head.getAttribute("aria-sort") === first ? second : first;
        for (const other of heads) {
          other.removeAttribute("aria-sort");
        }
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        rows.sort(function (one, other) {
          const [x, y] = [value(one, column), value(other, column)];
          return sign * (typeof x === "number" ? x - y : x.localeCompare(y));
        });
        body.append(...rows);
      });
      head.replaceChildren(button);
    });
    const label = document.createElement("label");
    const field = document.createElement("input");
    const shown = document.createElement("span");
    field.type = "search";
    shown.setAttribute("role", "status");
    label.append("Show only rows with ", field);
    field.addEventListener("input", function () {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        left += row.hidden ? 0 : 1;
      }
      shown.textContent = words.length > 0 ? " " + left + " of " + rows.length : "";
    });
    const line = document.createElement("p");
    line.className = "filter";
    line.append(label, shown);
    table.parentElement.before(line);
  }
})();
