// A chat with Node and the library `ws`: for each message a loop that sends to each socket.
const { createServer } = require("node:http");
const { WebSocketServer } = require("ws");

const rooms = new Map();
const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false });

sockets.on("connection", (socket, request) => {
  const room = rooms.get(request.url) ?? new Set();
  rooms.set(request.url, room);
  room.add(socket);
  socket.on("close", () => room.delete(socket));
  socket.on("message", (data) => {
    const { message } = JSON.parse(data);
    const datetime = new Date().toISOString().replace("Z", "000+00:00");
    const event = JSON.stringify({ type: "chat_message", message, user: "student100", datetime });
    for (const member of room) member.send(event);
  });
});

server.listen(Number(process.argv[2]), "127.0.0.1");
