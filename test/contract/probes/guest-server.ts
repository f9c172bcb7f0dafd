/** What a packet guest serves to be probed: a script for Node, as text. */
export const GUEST_SERVER = String.raw`
const { createServer } = require("node:http");
const net = require("node:net");
const status = Number(process.argv[1]);
let sent = 0;
let trapped = false;
const endless = (response) => {
  response.writeHead(200);
  const chunk = Buffer.alloc(65536);
  const more = () => {
    while (!response.destroyed && response.write(chunk)) sent += chunk.length;
    sent += chunk.length;
  };
  response.on("drain", more);
  response.on("error", () => {});
  more();
};
const pages = {
  "/who": (response) => response.writeHead(status).end("me"),
  "/failing": (response) => response.writeHead(500).end("sorry"),
  "/gone": (response) => response.writeHead(404).end(),
  "/empty": (response) => response.writeHead(204).end(),
  "/elsewhere": (response) => response.writeHead(302, { location: "/trap" }).end(),
  "/trap": (response) => { trapped = true; response.writeHead(500).end(); },
  "/was-not-trapped": (response) => response.writeHead(trapped ? 500 : 200).end(),
  "/endless": endless,
  "/sent-little": (response) => response.writeHead(sent < 32 * 1024 * 1024 ? 200 : 500).end(),
  "/silent": () => {},
  "/from-the-node": (response, { socket }) =>
    response.writeHead(socket.remoteAddress.endsWith("10.99.0.1") ? 200 : 500).end(),
  "/half": (response) => { response.writeHead(200); response.write("to be continued"); },
  "/a/../b?x=%5b1%5D&y=*": (response) => response.writeHead(200).end(),
};
createServer((request, response) => {
  const page = pages[request.url];
  if (page === undefined) response.writeHead(410).end();
  else page(response, request);
}).listen(80);
net.createServer((socket) => socket.on("error", () => {})).listen(81);
net.createServer((socket) => { socket.on("error", () => {}); socket.end("\u001b[31mhello\n"); }).listen(83);
`;
