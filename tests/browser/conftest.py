import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser import looks
from tests.browser.jupyter import ROOT, Notebook, chromium, jupyterlab

SIZE = {"width": 1280, "height": 1000}
expect.set_options(timeout=30_000)  # other tests run beside these, on as many cores


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory):
    """JupyterLab over a copy of the chapters: saving a notebook there changes nothing here."""
    folder = tmp_path_factory.mktemp("chapters")
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:  # saved outputs and counts would look like those of this run
            if cell.cell_type == "code":
                cell.update(outputs=[], execution_count=None)
        nbformat.write(notebook, folder / path.name)
    with jupyterlab(folder) as server:
        yield server


@pytest.fixture(scope="session")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def open_notebook(lab_server, browser):
    """Open a notebook in a page of its own, and run all its cells."""
    pages = []

    def opened(name):
        page = browser.new_page(viewport=SIZE)
        pages.append(page)
        notebook = Notebook(page, lab_server.page(name))
        notebook.run_all()
        return notebook

    yield opened
    for page in pages:
        page.close()


@pytest.fixture(scope="session")
def labs(lab_server, open_notebook):
    """One notebook with every lab, all laid out: it runs once in each process that tests labs."""
    looks.SCREENSHOTS.mkdir(exist_ok=True)
    nbformat.write(looks.notebook_of_labs(), lab_server.folder / "labs.ipynb")
    opened = open_notebook("labs.ipynb")
    looks.lay_out(opened)
    return opened
