"""The classic notebook, whose widgets are those of ipywidgets 7: a stand-in for Colab's page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser.jupyter import LabOnPage, Notebook
from tests.browser.servers import ROOT, Server, serve

CLASSIC, COLAB = ROOT / ".classic", ROOT / ".colab"


@contextmanager
def classic_notebook(notebooks: Path) -> Iterator[Server]:
    """Start the classic notebook in a folder, with Colab's versions in the server and its kernels.

    Raises `RuntimeError` where it or they are not installed.
    """
    for folder, command in ((CLASSIC, "make classic-env"), (COLAB, "make colab-env")):
        if not list(folder.glob(".installed*")):
            raise RuntimeError(f"There is no {folder.name}/ to test with: run `{command}` first.")
    # Extensions of a later server, in the same environment.
    others = dict.fromkeys(["jupyterlab", "jupyter_lsp", "jupytext", "nbclassic"], False)
    options = ["notebook_dir={folder}", "token={token}", "port_retries=0"]
    with serve(
        "notebook",
        notebooks,
        [f"--NotebookApp.{option}" for option in options],
        pages="notebooks",
        config={"jupyter_notebook_config.json": {"NotebookApp": {"nbserver_extensions": others}}},
        env={
            "JUPYTER_PATH": str(CLASSIC / "share" / "jupyter"),
            "JUPYTER_CONFIG_PATH": str(CLASSIC / "etc" / "jupyter"),
        },
        libraries=[CLASSIC, COLAB],
    ) as server:
        yield server


class ClassicNotebook(Notebook):
    """One notebook open in one page of the classic notebook, with its kernel ready."""

    # A cell that runs before the manager of the widgets is there shows text in their place.
    READY = """() => {
        const notebook = window.Jupyter?.notebook;
        return notebook?._fully_loaded && notebook.kernel?.is_connected()
            && notebook.kernel.widget_manager && notebook.kernel.info_reply.protocol_version;
    }"""
    RUN_ALL = "() => { Jupyter.notebook.execute_all_cells(); }"
    HAS_RUN = """() => {  // or an error has ended the run
        const code = Jupyter.notebook.get_cells().filter(
            c => c.cell_type === 'code' && c.get_text().trim());
        const failed = code.some(c => c.output_area.outputs.some(o => o.output_type === 'error'));
        return failed || code.every(c => typeof c.input_prompt_number === 'number')
            && !Jupyter.notebook.kernel_busy;
    }"""
    RUN_CODE = """code => new Promise(resolve => {
        let text = '', left = 2;  // the reply, and the idle after the last output
        const part = () => { left -= 1; if (left === 0) resolve(text); };
        const output = m => { text += m.content.text ?? (m.content.evalue ?? ''); };
        const status = m => { if (m.content.execution_state === 'idle') part(); };
        Jupyter.notebook.kernel.execute(
            code, {shell: {reply: part}, iopub: {output, status}}, {silent: false});
    })"""
    OUTPUTS = """() => Jupyter.notebook.get_cells().flatMap((cell, i) =>
        cell.cell_type !== 'code' ? [] : cell.output_area.toJSON().map(o => [i, o]))"""
    PAGE = "#notebook-container"


class ClassicLab(LabOnPage):
    """A lab on a page of the classic notebook."""

    OUTPUT = ".output_subarea"
    HANDLE = ".ui-slider-handle"
    TRACK = "ui-slider"

    def shown(self) -> list[str]:
        """Picture, its alternative text, sentence and settings line, all of the same moment."""
        seen: list[str] = self.box.evaluate(
            """box => {
                const image = box.querySelector('img[alt]');
                const words = box.querySelector('.teachkit-sentence');
                return [image.src, image.alt, words.firstChild.textContent,
                    words.querySelector('code').textContent];
            }"""
        )
        return seen

    def controls(self) -> dict[str, str]:
        """Each control by its label: the number beside a slider, the option of a choice."""
        seen: dict[str, str] = self.box.evaluate(
            """box => Object.fromEntries(
                Array.from(box.querySelectorAll('.widget-hslider, .widget-dropdown'), control => {
                    const choice = control.querySelector('select');
                    return [
                        control.querySelector('.widget-label').innerText,
                        choice ? choice.selectedOptions[0].innerText.replaceAll('\u00a0', ' ')
                            : control.querySelector('.widget-readout').innerText,
                    ];
                }))"""
        )
        return seen
