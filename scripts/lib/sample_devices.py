"""Devices that register and leave when the reference CMS's page tells them."""

import asyncio
import contextlib

ANSWER_SECONDS = 15
ACTIONS = {"register": 3600, "unregister": 0}


class SampleDevices:
    """`uas`: {name: Ua}; the CMS they are told to."""

    def __init__(self, cms, uas):
        self._cms = cms
        self._uas = uas

    @property
    def names(self):
        return list(self._uas)

    async def act(self, name, action):
        """What the device got: its final answer, and whether the CMS was asked.
        KeyError: no such device or action. TimeoutError: no answer."""
        ua, expires = self._uas[name], ACTIONS[action]
        before, clears = self._cms.count, self._cms.clears
        answer = await self._register(ua, expires)
        first = before if clears == self._cms.clears else 0
        return {
            "status": answer.status,
            "answer": f"{answer.status} {answer.reason}",
            "retry_after": answer.get("Retry-After"),
            "asked": any(event.get("aor") == ua.aor
                         for request in self._cms.requests[first:]
                         for event in request.events),
        }

    @staticmethod
    async def _register(ua, expires):
        loop = asyncio.get_running_loop()
        result = loop.create_future()

        def done(registration):  # in the thread of the devices
            with contextlib.suppress(RuntimeError):  # the CMS has ended
                loop.call_soon_threadsafe(settle, registration.result)

        def settle(answer):
            if not result.done():
                result.set_result(answer)

        registration = ua.start_register(
            retransmit=True, expires=expires, on_done=done)
        try:
            return await asyncio.wait_for(result, ANSWER_SECONDS)
        except asyncio.TimeoutError as error:
            registration.abandon()
            raise TimeoutError(f"{ua.aor}: no answer") from error
