// Listens as a page would, and prints the sequence of each message, until it has had so many.
//
//   node browser.mjs MODULE URL COUNT
//
// MODULE is the package `eventsource`: the one within Node.js 20 does not come back when it was cut off in an answer.

const [module, url, count] = process.argv.slice(2);
const { EventSource } = await import(module);
const source = new EventSource(url);
let received = 0;
source.addEventListener("open", () => received === 0 && console.log("open"), { once: true });
source.addEventListener("message", (event) => {
  console.log(JSON.parse(event.data).sequence);
  received += 1;
  if (received === Number(count)) {
    source.close();
    console.log("end");
  }
});
source.addEventListener("error", () => {
  // It comes back by itself, unless it was told that there is nothing to come back for.
  if (source.readyState === EventSource.CLOSED) {
    console.error("the stream is closed for good");
    process.exit(1);
  }
});
