// Does what pages do, and reports what came of it.
"use strict";

function protocols() {
  const entries = performance.getEntriesByType("resource");
  return [...new Set(entries.map((entry) => entry.nextHopProtocol))];
}

// Messages go and come back, of every size of a frame's length.
function socket() {
  return new Promise((done) => {
    const sizes = [5, 300, 70000];
    const back = [];
    const socket = new WebSocket(`wss://${location.host}/socket`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => sizes.forEach((size) => socket.send(new Uint8Array(size).fill(7)));
    socket.onmessage = (message) => {
      const bytes = new Uint8Array(message.data);
      back.push(bytes.every((byte) => byte === 7) ? bytes.length : "changed");
      if (back.length === sizes.length) {
        socket.close(1000);
      }
    };
    socket.onclose = (event) => done({ back, code: event.code, clean: event.wasClean });
    socket.onerror = () => done({ back, code: "error" });
  });
}

async function look() {
  const seen = { page: performance.getEntriesByType("navigation")[0].nextHopProtocol };
  seen.image = document.querySelector("img").naturalWidth;
  const posted = "0123456789".repeat(20000);
  const echoed = await fetch("/echo", { method: "POST", body: posted });
  seen.post = (await echoed.text()) === posted;
  const moved = await fetch("/old");
  seen.moved = [moved.redirected, new URL(moved.url).pathname, await moved.text()];
  const many = Array.from({ length: 100 }, (_, number) =>
    fetch(`/echo?${number}`, { method: "POST", body: `${number}` }).then((answer) => answer.text()));
  seen.many = (await Promise.all(many)).filter((text, number) => text === `${number}`).length;
  const text = await fetch("/text");
  seen.coding = text.headers.get("content-encoding");
  seen.text = (await text.text()).split("\n").length;
  const entry = performance.getEntriesByName(`${location.origin}/text`)[0];
  seen.compressed = entry.encodedBodySize > 0 && entry.encodedBodySize * 4 < entry.decodedBodySize;
  seen.missing = (await fetch("/nowhere")).status;
  seen.socket = await socket();
  seen.protocols = protocols();
  return seen;
}

addEventListener("load", () => {
  look()
    .catch((error) => ({ error: `${error}` }))
    .then((seen) => fetch("/report", { method: "POST", body: JSON.stringify(seen) }));
});
