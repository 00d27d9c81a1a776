// A chat with Bun's server, which is uWebSockets in C++, and its publish(): the fastest way that its manual knows.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    if (!server.upgrade(request, { data: new URL(request.url).pathname })) return new Response("", { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      socket.subscribe(socket.data);
    },
    message(socket, data) {
      const { message } = JSON.parse(data);
      const datetime = new Date().toISOString().replace("Z", "000+00:00");
      server.publish(socket.data, JSON.stringify({ type: "chat_message", message, user: "student100", datetime }));
    },
  },
});
