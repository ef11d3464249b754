// Loads the page; once more where a part is missing, as browsers drop what they load when the network
// changes: a container that starts on their own machine does that.
import("./app.js").catch((error) => {
  if (performance.getEntriesByType("navigation")[0].type === "reload") throw error;
  setTimeout(() => location.reload(), 1000);
});
