// Server-sent events, read by fetch. EventSource can send no headers, so it needs a ticket in the
// address, and shows no error's words; fetch sends the key and `Last-Event-ID` as any request does.
const SILENCE_S = 45; // the server says something each 15

// Yields the events {id, type, data} that came at once; none for a comment. Raises when the connection
// is cut or silent.
export async function* readEvents(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let [rest, timer] = ["", null];
  try {
    while (!signal.aborted) {
      const silence = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new TypeError("The connection is silent.")), SILENCE_S * 1000);
      });
      const { done, value } = await Promise.race([reader.read(), silence]).finally(() => clearTimeout(timer));
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      yield blocks.map(parse).filter(({ id, data }) => id !== null || data);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const found = { id: null, type: "message", data: [] };
  for (const line of block.split("\n")) {
    const [, name, value] = line.match(/^([^:]*):? ?(.*)$/);
    if (name === "id") found.id = value;
    if (name === "event") found.type = value;
    if (name === "data") found.data.push(value);
  }
  return { ...found, data: found.data.join("\n") };
}
