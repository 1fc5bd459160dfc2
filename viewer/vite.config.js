// Builds static files that are served from one host and ask no other one.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = dirname(fileURLToPath(import.meta.url));

// Zarr over HTTP, and nothing else: no cloud, no account, no other server.
const conditions = [
  "neuroglancer/datasource:none_by_default",
  "neuroglancer/datasource/zarr:enabled",
  "neuroglancer/kvstore:none_by_default",
  "neuroglancer/kvstore/http:enabled",
  "module",
  "browser",
  "production",
  "import",
  "default",
];

// The licence of every package of which a line is in the bundle travels with it.
const found = new Map();

function collectLicences() {
  return {
    name: "collect-licences",
    moduleParsed({ id }) {
      const place = id.split("?")[0].match(/^.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/);
      if (!place || found.has(place[1])) return;
      const folder = place[0].replace(/^\0/, "");
      const files = existsSync(folder)
        ? readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file))
        : [];
      found.set(place[1], files.map((file) => readFileSync(join(folder, file), "utf8").trim()));
    },
  };
}

function shipLicences() {
  return {
    name: "ship-licences",
    generateBundle() {
      const parts = [...found].sort().map(([name, texts]) => {
        const { version, license } = JSON.parse(
          readFileSync(join(here, "node_modules", name, "package.json"), "utf8"),
        );
        const words = texts.join("\n\n") || `Licence: ${license}`;
        return `${"=".repeat(78)}\n${name} ${version} (${license})\n\n${words}\n`;
      });
      this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: parts.join("\n") });
    },
  };
}

export default defineConfig({
  root: here,
  base: "./",
  resolve: {
    conditions,
    // three icons that the published icon package lacks
    alias: [
      {
        find: /^ikonate\/icons\/(code-alt|controls-alt|layers)\.svg/,
        replacement: `${here}/icons/$1.svg`,
      },
    ],
  },
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  // what is compiled while it runs is compiled in workers: they lie in a folder of their own, so that
  // the page itself may be forbidden to do so
  worker: {
    format: "es",
    plugins: () => [collectLicences()],
    rollupOptions: {
      output: {
        entryFileNames: "workers/[name]-[hash].js",
        chunkFileNames: "workers/[name]-[hash].js",
      },
    },
  },
  plugins: [collectLicences(), shipLicences()],
  build: {
    target: "es2022",
    outDir: process.env.OUT_DIR || "dist",
    emptyOutDir: true,
    chunkSizeWarningLimit: 4096,
  },
});
