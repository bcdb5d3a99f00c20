// Sends the file of a form to the store by a signed link, with its progress, and then the form with the id of the file.
// Without this script the form takes a smaller file itself.
for (const form of document.querySelectorAll("form[data-upload]")) {
  const input = form.querySelector("input[type=file]");
  const bar = form.querySelector("progress");
  const problem = form.querySelector("[role=alert]");
  const headers = { "X-Form-Token": form.elements.form_token.value };
  const ask = async (url, fields) => {
    const answer = await fetch(url, { method: "POST", headers, body: new URLSearchParams(fields) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.problem);
    return found;
  };
  const send = (upload, file) => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch reports no progress
    request.open("PUT", upload.url);
    for (const [name, value] of Object.entries(upload.headers)) {
      if (name.toLowerCase() !== "content-length") request.setRequestHeader(name, value); // the browser sets that one
    }
    request.upload.addEventListener("progress", (event) => { bar.value = 100 * event.loaded / event.total; });
    request.addEventListener("load", () => (request.status < 300 ? resolve() : reject(new Error(form.dataset.failed))));
    request.addEventListener("error", () => reject(new Error(form.dataset.failed)));
    request.send(file);
  });
  form.addEventListener("submit", async (event) => {
    const [file] = input.files;
    if (!file) return;
    event.preventDefault();
    const button = form.querySelector(".button:not(a)");
    problem.hidden = true;
    bar.hidden = false;
    button.disabled = true;
    try {
      const { kind } = form.dataset;
      const upload = await ask(form.dataset.upload, { kind, name: file.name, type: file.type, size: file.size });
      await send(upload, file);
      await ask(`${form.dataset.upload}/${upload.id}/complete`, {});
      const id = Object.assign(document.createElement("input"), { type: "hidden", name: "file_id", value: upload.id });
      form.append(id);
      input.remove();
      form.submit();
    } catch (error) {
      problem.textContent = error.message || form.dataset.failed;
      problem.hidden = false;
      bar.hidden = true;
      button.disabled = false;
    }
  });
}
