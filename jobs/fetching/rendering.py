"""Rendering pages in headless Chromium: a page that was fetched goes in, its DOM after its scripts ran comes out.

    Page ─▶ Renderer ─▶ Tab in Chromium ─▶ Rendered
                          │     ▲
                     Part ▼     │ PartAnswer
                        fetch_part: the engine's, with robots.txt, address guard, proxies and limits

Owns the thread that steers the browsers, how many pages are rendered at once, and what happens when a browser dies.
Chromium opens no connection: it gets the page from the engine, and asks the engine for all parts of it.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from types import TracebackType

from crawldb.settings import Settings
from jobs.fetching.chromium import Chromium, program
from jobs.fetching.parts import FetchPart, Part, PartAnswer, PartCache
from jobs.fetching.shells import wanted
from jobs.fetching.tabs import Page, Rendered, Rules, Tab

__all__ = ["FetchPart", "Page", "Part", "PartAnswer", "Rendered", "Renderer", "wanted"]


class Renderer:
    """Renders pages, `browser.tabs` at once, in a Chromium that is started for the first and replaced when need be.

    A browser that dies takes with it the pages in it; each is rendered once more, alone in a browser of its own, so
    that only the one page is lost that kills it. Raises UsageError for wrong settings and for what is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._program = program(settings.browser.executable)
        self._rules = Rules.of(settings)
        self._pages_per_browser = settings.browser.pages_per_browser
        self._cache = PartCache()
        self._tabs = asyncio.Semaphore(settings.browser.tabs)
        self._starting = asyncio.Lock()
        self._alone = asyncio.Lock()
        self._current: Chromium | None = None
        self._work: set[asyncio.Task[Rendered]] = set()
        self._closed = False
        self._guard = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="renderer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def render(self, page: Page, fetch_part: FetchPart) -> Future[Rendered]:
        """Returns at once, from any thread; pages beyond `browser.tabs` wait their turn. Cancel it to give up a page.

        The future raises CobnutError if Chromium does not start, and what `fetch_part` raises against its contract.
        """
        with self._guard:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(self._render(page, fetch_part), self._loop)
        late: Future[Rendered] = Future()
        late.set_result(_CLOSED)
        return late

    def close(self) -> None:
        """End all, also pages under way (their futures say so); returns when no process is left."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _render(self, page: Page, fetch_part: FetchPart) -> Rendered:
        task = asyncio.current_task()
        assert task is not None
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        try:
            async with self._tabs:
                chromium = await self._lease()
                try:
                    rendered = await self._attempt(chromium, page, fetch_part)
                finally:
                    await self._release(chromium)
                return rendered or await self._render_alone(page, fetch_part)
        except asyncio.CancelledError:
            if self._closed:
                return _CLOSED
            raise

    async def _render_alone(self, page: Page, fetch_part: FetchPart) -> Rendered:
        """Once more, where it can take nobody with it."""
        async with self._alone:
            chromium = await Chromium.start(self._program)
            try:
                rendered = await self._attempt(chromium, page, fetch_part)
            finally:
                await chromium.close()
        return rendered or Rendered(None, None, "Chromium died of it", False)

    async def _attempt(self, chromium: Chromium, page: Page, fetch_part: FetchPart) -> Rendered | None:
        """None: the browser died, and with it the page, whoever's fault it was."""
        rendered = await Tab(page, fetch_part, self._rules, self._cache).render(chromium)
        if rendered.dom is None and not await chromium.is_alive():
            chromium.suspect = True
            return None
        return rendered

    async def _lease(self) -> Chromium:
        """The browser for the next page; the one before it ends with its last page."""
        async with self._starting:
            current = self._current
            if current is not None and (current.suspect or not current.is_connected
                                        or current.pages >= self._pages_per_browser):  # fmt: skip
                self._current = None
                if not current.users:
                    await current.close()
            if self._current is None:
                self._current = await Chromium.start(self._program)
            self._current.pages += 1
            self._current.users += 1
            return self._current

    async def _release(self, chromium: Chromium) -> None:
        chromium.users -= 1
        if chromium.suspect and chromium is self._current:
            self._current = None
        if not chromium.users and chromium is not self._current:
            await chromium.close()

    async def _end(self) -> None:
        work = list(self._work)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await self._cache.close()
        if self._current is not None:
            await self._current.close()


_CLOSED = Rendered(None, None, "the renderer was closed", False)
