// Sets the page's language before anything is drawn: ?lang=, or the first of the browser's
// languages that the page has. The HTML is in English; app.js replaces the text, then shows it.
const LANGUAGES = {{languages}};
const wanted = [new URLSearchParams(location.search).get("lang"), ...navigator.languages];
const known = wanted.map((one) => one?.toLowerCase().split("-")[0]).find((one) => LANGUAGES.includes(one));
document.documentElement.lang = known ?? "en";
document.documentElement.toggleAttribute("data-translating", document.documentElement.lang !== "en");
