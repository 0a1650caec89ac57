// Builds the console into ./static, which the service serves as it is: `npm ci && npm run build`.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";

const out = "static";
await rm(out, { recursive: true, force: true });
await mkdir(out);
await build({
  entryPoints: { app: "src/main.jsx" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".png": "empty" }, // Leaflet's marker pictures: none is used
  legalComments: "none",
});
await copyFile("src/index.html", `${out}/index.html`);
await copyFile("src/icon.svg", `${out}/icon.svg`);

// So that a test without Node can tell whether what was built is of this source.
const source = createHash("sha256");
for (const path of (await readdir("src", { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile())
  .map((entry) => `${entry.parentPath}/${entry.name}`)
  .concat("package-lock.json")
  .sort()) {
  source.update(path).update(await readFile(path));
}
await writeFile(`${out}/source.txt`, `${source.digest("hex")}\n`);

const licences = [];
for (const name of ["preact", "@preact/signals", "@preact/signals-core", "leaflet", "uplot", "eventsource-parser"]) {
  const folder = `node_modules/${name}`;
  const { version } = JSON.parse(await readFile(`${folder}/package.json`, "utf8"));
  licences.push(`${name} ${version}\n\n${(await readFile(`${folder}/LICENSE`, "utf8")).trim()}\n`);
}
await writeFile(`${out}/LICENCES.txt`, licences.join("\n----\n\n"));
