// Questions in a dialog; the browser keeps the focus inside, and Escape cancels.

import { change, forgetSession, isLoggedIn, logIn } from "./api.js";
import { h, setValues } from "./dom.js";

// Ask; gives the form's data, or null where the user goes back. `check` may say what is wrong.
export function ask({ title, content, confirm, kind = "main", check = async () => "" }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const yes = h("button", { type: "submit", class: kind }, confirm);
  const no = h("button", { type: "button" }, "Cancel");
  const form = h("form", {},
    h("h2", { id: "dialog-title" }, title), content, problem, h("div", { class: "actions" }, yes, no));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  document.body.append(dialog);
  setValues(dialog);
  return new Promise((done) => {
    let found = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      yes.disabled = true;
      const data = new FormData(form);
      try {
        problem.textContent = await check(data);
      } catch (error) {
        problem.textContent = error.message;
      }
      yes.disabled = false;
      if (problem.textContent) return;
      found = data;
      dialog.close();
    });
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(found);
    });
    dialog.showModal();
  });
}

// Ask for a key until it is right; false where the user goes back.
export async function signIn() {
  const data = await ask({
    title: "Log in",
    confirm: "Log in",
    content: [
      h("p", {}, "With an API key, or the engine's token: ", h("code", {}, "cat ~/.anabranch/token"),
        ". The browser keeps neither."),
      h("label", {}, "Key ",
        h("input", { name: "key", type: "password", required: true, autocomplete: "off", autofocus: true })),
    ],
    check: async (data) => {
      await logIn({ key: data.get("key").trim() });
      return "";
    },
  });
  return data !== null;
}

// Say what will happen, and do it once the user agrees: gives what the engine says of it, or null.
// `send` makes of the form's data what is sent: [method, path, body].
export async function confirmed({ title, content, confirm, kind, send }) {
  if (!isLoggedIn() && !(await signIn())) return null;
  let answer = null;
  const data = await ask({
    title, content, confirm, kind,
    check: async (data) => {
      try {
        answer = await change(...send(data));
        return "";
      } catch (error) {
        if (error.status === 401) forgetSession();
        return error.message;
      }
    },
  });
  return data && answer;
}
