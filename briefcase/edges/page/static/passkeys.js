// Passkeys: hands the daemon's options to the browser, and what the browser gave back to the daemon.
"use strict";

const home = document.body.dataset.base;
const hasPasskeys = Boolean(globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON);

async function send(path, fields, token) {
  const answer = await fetch(home + path, { method: "POST", body: new URLSearchParams({ form_token: token, ...fields }) });
  if (answer.headers.get("content-type") === "application/json") {
    return answer.json();
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  throw new Error(page.querySelector("[role=alert]")?.innerText.trim() || "the daemon gave no answer");
}

async function register(form, say) {
  const token = form.elements.form_token.value;
  const wanted = { name: form.elements.name.value, pairing_code: form.elements.pairing_code.value };
  const begun = await send("/passkeys/registration", wanted, token);
  say("Waiting for your authenticator.");
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(begun.options);
  const made = await navigator.credentials.create({ publicKey });
  const credential = JSON.stringify(made.toJSON());
  await send("/passkeys/register", { registration_id: begun.registration_id, credential }, token);
  location.reload();
}

async function rule(form, button, say) {
  const token = form.elements.form_token.value;
  const { approval, to } = button.dataset;
  const shown_digest_hex = form.elements.shown_digest_hex.value;
  const begun = await send("/passkeys/ruling", { approval_id: approval, to, shown_digest_hex }, token);
  say("Waiting for your authenticator.");
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(begun.options);
  const given = await navigator.credentials.get({ publicKey });
  const credential = JSON.stringify(given.toJSON());
  const reason = form.elements.reason.value;
  await send("/passkeys/rule", { assertion_id: begun.assertion_id, credential, reason }, token);
  location.reload();
}

function when(button, act) {
  const said = document.getElementById("said");
  const say = (text) => {
    said.textContent = text;
  };
  button.hidden = button.disabled = false;
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    button.disabled = true;
    say("");
    try {
      await act(say);
    } catch (error) {
      say(`Not done: ${error.message}`);
      button.disabled = false;
    }
  });
}

if (hasPasskeys) {
  const registering = document.getElementById("register");
  const ruling = document.getElementById("passkey-yes");
  if (registering) {
    document.getElementById("said").textContent = "";
    when(registering, (say) => register(registering.form, say));
  }
  if (ruling) {
    when(ruling, (say) => rule(ruling.form, ruling, say));
  }
}
