"""The server that the application runs in: uvicorn, which ends the open streams when it is told to stop."""

import socket

import uvicorn


class Server(uvicorn.Server):
    """A server whose open streams of cases do not keep it from ending."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End every stream, then the server: uvicorn waits for answers that are still being sent."""
        self.config.app.state.case_stream.close()  # type: ignore[union-attr]
        await super().shutdown(sockets)
