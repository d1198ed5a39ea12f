"""A connection that says what it wants in time, or is closed: uvicorn itself waits for a request's head forever.

Without that, a hundred connections that send half a head each would take every place for as long as they like.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def prompt_within(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, closing a connection whose next request has no complete head after `seconds`."""

    class Prompt(H11Protocol):
        """Armed when nothing is being answered, disarmed when a request's head is complete."""

        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def _watch(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._disarm()
            elif self.late is None:
                self.late = self.loop.call_later(seconds, self.transport.close)

        def _disarm(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return Prompt
