import RFB from "@novnc/novnc";

/**
 * The page that shows a guest's screen. It runs in a browser: scripts/build.ts
 * bundles it with noVNC into the plugin.
 */

const screen = document.getElementById("screen");
const state = document.getElementById("state");
const viewOnly = document.body.dataset.viewOnly === "true";

/** Between two attempts to connect. */
const RETRY_MS = 2000;

const show = (text) => {
  state.textContent = text;
};

const socketUrl = () => {
  const url = new URL("socket", location.href);
  url.protocol = "ws:";
  return url.href;
};

let connection;

const connect = () => {
  connection = new RFB(screen, socketUrl());
  connection.viewOnly = viewOnly;
  connection.scaleViewport = true;
  connection.focusOnClick = true;
  connection.addEventListener("connect", () => {
    show(viewOnly ? "connected, view only" : "connected");
    connection.focus();
  });
  connection.addEventListener("disconnect", ({ detail }) => {
    show(
      detail.clean
        ? "the guest is off, or its node ended the connection; trying again"
        : "no connection; trying again",
    );
    setTimeout(connect, RETRY_MS);
  });
};

document.getElementById("ctrl-alt-del").addEventListener("click", () => {
  connection.sendCtrlAltDel();
  connection.focus();
});
document.getElementById("full-screen").addEventListener("click", () => {
  void screen.requestFullscreen();
});

connect();
