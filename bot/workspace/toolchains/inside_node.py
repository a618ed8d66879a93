"""Scripts that run inside the sandbox with the repository's Node (20 or newer) and nothing of Ostler's."""

from __future__ import annotations

# Parses without executing. argv: a JSON file with {"files": [...]}, and where to write the answer. Answers with errors of
# syntax, what is imported at the top (`imports`, which has to be there), what may be loaded (`reaches`), and who parsed.
INSPECT = r"""
const fs = require("fs"), path = require("path"), vm = require("vm"), modules = require("module");
const job = JSON.parse(fs.readFileSync(process.argv[1], "utf8"));
const own = modules.createRequire(path.join(process.cwd(), "node_modules", "x.js")); // nobody's package.json is read on the way
const load = (name) => { try { return own(name); } catch { return null; } };
const typescript = load("typescript"), babel = load("@babel/parser");
const TYPED = /\.[cm]?tsx?$/, EXTENDED = /\.(tsx?|mts|cts|jsx)$/;
const LOADS = /\b(?:require|import)\s*\(\s*(['"])([^'"\n]+)\1/g;
const FROM = /^\s*(?:import|export)\b[^'"`;]*?(['"])([^'"\n]+)\1/gm;

function byTypescript(name, text) {
  const kind = /x$/.test(name) || /\.[cm]?js$/.test(name) ? typescript.ScriptKind.TSX : undefined;
  const tree = typescript.createSourceFile(name, text, typescript.ScriptTarget.Latest, false, kind);
  const wrong = (tree.parseDiagnostics || [])[0];
  if (wrong) {
    const line = tree.getLineAndCharacterOfPosition(wrong.start).line + 1;
    throw new Error(`line ${line}: ${typescript.flattenDiagnosticMessageText(wrong.messageText, " ")}`);
  }
  const types = (node) => node.isTypeOnly || (node.importClause && node.importClause.isTypeOnly);
  return tree.statements.filter((node) => node.moduleSpecifier && !types(node)).map((node) => node.moduleSpecifier.text);
}

function byBabel(name, text) {
  const plugins = TYPED.test(name) ? ["typescript", "decorators", ...(/x$/.test(name) ? ["jsx"] : [])] : ["jsx", "decorators"];
  const tree = babel.parse(text, { sourceType: "unambiguous", allowReturnOutsideFunction: true, plugins });
  const wanted = (node) => node.source && node.importKind !== "type" && node.exportKind !== "type";
  return tree.program.body.filter(wanted).map((node) => node.source.value);
}

function byNode(name, text) {
  if (TYPED.test(name)) {
    const plain = modules.stripTypeScriptTypes(text, { mode: "transform" });
    return [...plain.matchAll(FROM)].map((found) => found[2]);
  }
  const plain = text.replace(/^#!.*/, "");
  try {
    const made = new vm.SourceTextModule(plain, { identifier: name });
    return made.moduleRequests ? made.moduleRequests.map((one) => one.specifier) : made.dependencySpecifiers;
  } catch (asModule) {
    const common = `(function (exports, require, module, __filename, __dirname) {${plain}\n})`;
    try { new vm.Script(common, { filename: name }); return []; }
    catch (asScript) {
      const wrong = /^\s*(import|export)\b/m.test(plain) ? asModule : asScript;
      const line = wrong === asScript && /:(\d+)\n/.exec(wrong.stack);
      throw new Error(line ? `line ${line[1]}: ${wrong.message}` : wrong.message);
    }
  }
}

const able = typescript && typeof typescript.createSourceFile === "function";
const parse = able ? byTypescript : babel ? byBabel : byNode;
const parser = able ? `typescript ${typescript.version}` : babel ? "@babel/parser" : `node ${process.versions.node}`;
const answer = { parser, builtins: modules.builtinModules, syntax: {}, imports: {}, reaches: {}, unread: [] };
for (const name of job.files) {
  let text;
  try { if (!fs.lstatSync(name).isFile()) continue; text = fs.readFileSync(name, "utf8"); } catch { continue; }
  if (parse === byNode && EXTENDED.test(name) && !(TYPED.test(name) && modules.stripTypeScriptTypes && !/x$/.test(name))) {
    answer.unread.push(name);
    answer.reaches[name] = [...text.matchAll(FROM), ...text.matchAll(LOADS)].map((found) => found[2]);
    continue;
  }
  try { answer.imports[name] = parse(name, text); }
  catch (error) { answer.syntax[name] = String(error.message).split("\n")[0]; }
  answer.reaches[name] = [...(answer.imports[name] || []), ...[...text.matchAll(LOADS)].map((found) => found[2])];
}
fs.writeFileSync(process.argv[2], JSON.stringify(answer));
"""

# A reporter for `node --test`: writes the form that jest and vitest write, because Node's own JUnit report names no files. A file
# that breaks goes by its name and what it wrote to stderr; a parent that only says that a child failed is left out. For Node a
# file without tests passes where it ends with 0; here only one that doesn't ask for tests does.
REPORTER = r"""
import fs from "node:fs";
import path from "node:path";
const files = new Map(), names = [], said = new Map();
const entry = (file) => {
  if (!files.has(file)) files.set(file, { name: file, status: "passed", message: "", assertionResults: [] });
  return files.get(file);
};
function add(data, failed) {
  const file = data.file || "", error = data.details && data.details.error, why = error && error.failureType;
  const cause = error && (error.cause && error.cause.stack ? error.cause : error);
  if (data.nesting === 0 && file && path.resolve(data.name) === path.resolve(file)) {
    const lines = (said.get(file) || "").split("\n");
    if (failed) {
      entry(file).status = "failed";
      entry(file).message = lines.find((line) => /Error\b/.test(line)) || String(cause && cause.message);
    } else if (/node:test/.test(fs.readFileSync(file, "utf8"))) {
      entry(file).status = "failed";
      entry(file).message = "the file ended before any of its tests was reported";
    } else entry(file).alone = true;
    return;
  }
  if (failed && why === "subtestsFailed") return;
  if (!failed && data.details && data.details.type === "suite") return;
  const skipped = data.skip !== undefined ? "skipped" : data.todo !== undefined ? "todo" : "";
  entry(file).assertionResults.push({
    ancestorTitles: names.slice(0, data.nesting),
    title: data.name,
    status: skipped || (failed ? "failed" : "passed"),
    failureMessages: failed ? [String((cause && (cause.stack || cause.message)) || error)] : [],
  });
}
export default async function* (source) {
  for await (const { type, data } of source) {
    if (type === "test:start") { names.length = data.nesting; names[data.nesting] = data.name; }
    else if (type === "test:stderr") said.set(data.file, ((said.get(data.file) || "") + data.message).slice(-20000));
    else if (type === "test:pass" || type === "test:fail") add(data, type === "test:fail");
  }
  yield JSON.stringify({ testResults: [...files.values()] });
}
"""
