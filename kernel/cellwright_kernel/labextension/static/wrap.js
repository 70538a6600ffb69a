// Wraps long lines in the code cells of agent notebooks, which are prompts. JupyterLab's setting is for all notebooks.
// JupyterLab asks a prebuilt extension for a module by this container's `get`; CodeMirror sees by the style that it wraps.
const style = `
.jp-CodeCell .cm-content[data-language="markdown"] { white-space: break-spaces; overflow-wrap: anywhere; flex-shrink: 1; }
`;

(window._JUPYTERLAB ??= {}).cellwright = {
  init: () => undefined,
  get: async () => () => {
    const element = document.createElement("style");
    element.textContent = style;
    document.head.append(element);
    return {};
  },
};
