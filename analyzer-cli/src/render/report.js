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
})();
