"""JupyterLab for `make notebooks`: loopback, a token, and notebooks that are stored without outputs."""

from pathlib import Path

c = get_config()  # noqa: F821  # Jupyter defines it


def drop_outputs(model, **_):
    """Store a notebook without what its cells printed: outputs would be committed with it, photos too."""
    if model["type"] != "notebook":
        return
    for cell in model["content"]["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None


c.ServerApp.ip = "127.0.0.1"
c.ServerApp.open_browser = False
c.ServerApp.root_dir = str(Path(__file__).resolve().parent)
c.ContentsManager.pre_save_hook = drop_outputs
