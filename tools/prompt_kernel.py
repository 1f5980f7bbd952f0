"""A JupyterLab whose kernels answer at once; `make lab` starts it.

Jupyter leaves Nagle's algorithm on: the picture that follows a kernel's first short message waits
until the browser has acknowledged that message, which takes it up to 40 ms. With it off, a slider
of a lab shows its picture so much sooner.

    jupyter lab --ServerApp.kernel_websocket_connection_class=tools.prompt_kernel.PromptConnection
"""

from __future__ import annotations

from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """Jupyter's own connection from kernel to browser, with every message sent at once."""

    def connect(self) -> Any:
        """Switch the delay off and connect."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()
