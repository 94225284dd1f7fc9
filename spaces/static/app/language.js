// The page's language, before anything is drawn: ?lang= or the first of the browser's that is here.
// The page itself is in English; app.js puts another language in its place, and shows it then.
const LANGUAGES = {{languages}};
const wanted = [new URLSearchParams(location.search).get("lang"), ...navigator.languages];
const known = wanted.map((one) => one?.toLowerCase().split("-")[0]).find((one) => LANGUAGES.includes(one));
document.documentElement.lang = known ?? "en";
document.documentElement.toggleAttribute("data-translating", document.documentElement.lang !== "en");
