"use strict";
// A cell opens its provenance, a picture its enlargement. Escape and focus are the browser's own.

document.addEventListener("click", (event) => {
  const cell = event.target.closest("button.cell");
  if (cell) document.getElementById(cell.dataset.dialog).showModal();

  const picture = event.target.closest("button.enlarge");
  if (picture) enlarge(picture.querySelector("img"));

  const copy = event.target.closest("button.copy");
  if (copy) copyText(copy);

  const dialog = event.target.closest("dialog");
  if (event.target.closest("button.close")) dialog.close();
  // a click on the backdrop is one on the dialog itself, outside of its box
  else if (event.target === dialog && isOutside(event, dialog)) dialog.close();
});

function isOutside(event, dialog) {
  const box = dialog.getBoundingClientRect();
  const inside = event.clientX >= box.left && event.clientX <= box.right &&
    event.clientY >= box.top && event.clientY <= box.bottom;
  return !inside;
}

function enlarge(image) {
  const dialog = document.getElementById("picture");
  dialog.querySelector("img").src = image.src;
  dialog.querySelector("img").alt = image.alt;
  dialog.querySelector("h2").textContent = image.dataset.name;
  dialog.showModal();
}

async function copyText(button) {
  const source = button.parentElement.querySelector("pre");
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    // without leave to write the clipboard, the text is at least selected
    getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
}
