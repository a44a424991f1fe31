"""One headless Chromium and the Playwright driver that steers it: found, started without a way out, ended.

Owns Chromium's flags, its environment and its end. Chromium opens no connection of its own: what its pages ask for
is intercepted (`tabs`), and should something get by that, it finds no name resolver, a proxy that does not exist and
no UDP. Knows nothing of pages.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawldb.errors import CobnutError, UsageError

if TYPE_CHECKING:
    from playwright.async_api import Browser, CDPSession, Playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_FLAGS = [
    # The proxy's name is resolved to nothing like all others, so not even a connection to a proxy is tried;
    # <-loopback>: also 127.0.0.0/8 and localhost go to it, which Chromium would otherwise ask directly.
    "--proxy-server=http://proxy.invalid:1",
    "--proxy-bypass-list=<-loopback>",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    # WebRTC's UDP knows no HTTP proxy. Older versions know the policy by the second name.
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-quic",
    "--dns-prefetch-disable",
    "--no-pings",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--deny-permission-prompts",
    # All frames of a page in one process, so that one interception sees all they ask for. Pages do not share it.
    "--disable-site-isolation-trials",
    # The last such list counts, so what Playwright wants off is in it too.
    "--disable-features=IsolateOrigins,site-per-process,IsolateSandboxedIframes,LocalNetworkAccessChecks,"
    "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,"
    "MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,AvoidCorsURLLoaderRestartOnRedirect,OptimizationHints,"
    "NetworkTimeServiceQuerying,AimEnabled,PreconnectToSearch,Translate,AutofillServerCommunication",
    "--js-flags=--max-old-space-size=512",  # MiB: a page that wants more crashes, and itself alone
    "--disable-gpu",
    "--mute-audio",
]

_LEFT_TO_BLOCK = ["--disable-popup-blocking"]
"""Flags of Playwright's that would let a page do more."""

_HELPERS = ("xdg-open", "xdg-settings", "xdg-mime", "xdg-email", "xdg-icon-resource", "xdg-desktop-menu")
"""Programs that Chromium starts for links such as mailto:, without asking."""

_LONGEST_DIRECTORY = 30
_ANSWERS_WITHIN = 5.0
"""Seconds in which a Chromium that works answers or ends."""


def program(executable: str) -> str:
    """The path of Chromium; `executable` is browser.executable. Raises UsageError if it or Playwright is not there."""
    try:
        import playwright.async_api
    except ImportError:
        raise UsageError("Rendering pages needs Playwright: scripts/venv.sh browser installs it") from None
    assert playwright.async_api
    found = shutil.which(executable) if executable else next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        sought = f"browser.executable = {executable}: no such program" if executable else "no chromium in PATH"
        raise UsageError(f"Rendering pages needs Chromium: {sought} (Debian: apt-get install chromium)")
    return found


class Chromium:
    """A running browser; the users count themselves in `pages` and `users`."""

    def __init__(self, playwright: Playwright, browser: Browser, control: CDPSession, pid: int, home: str) -> None:
        self.browser = browser
        self.pid = pid
        self.version = browser.version
        self.pages = 0
        """Given to it so far."""
        self.users = 0
        """Of those, under way."""
        self.suspect = False
        """It did not do as told: to be replaced."""
        self._playwright, self._control, self._home = playwright, control, home

    @classmethod
    async def start(cls, executable: str) -> Chromium:
        """Start the driver and Chromium. Raises CobnutError if they do not."""
        from playwright.async_api import Error, async_playwright

        home = _home()
        playwright = None
        try:
            playwright = await async_playwright().start()
            browser = await playwright.chromium.launch(
                executable_path=executable,
                args=_FLAGS,
                ignore_default_args=_LEFT_TO_BLOCK,
                chromium_sandbox=os.geteuid() != 0,  # root has no sandbox: Chromium refuses to start with it
                env=_environment(home),
            )
            control = await browser.new_browser_cdp_session()
            processes = await control.send("SystemInfo.getProcessInfo")
            pid = next(one["id"] for one in processes["processInfo"] if one["type"] == "browser")
            return cls(playwright, browser, control, pid, home)
        except BaseException as error:
            if playwright is not None:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(playwright.stop(), _ANSWERS_WITHIN)
            shutil.rmtree(home, ignore_errors=True)
            if isinstance(error, Error):
                raise CobnutError(f"Chromium ({executable}) does not start: {_reason(str(error))}") from None
            raise

    @property
    def is_connected(self) -> bool:
        return bool(self.browser.is_connected())

    async def is_alive(self) -> bool:
        """Whether it answers."""
        try:
            await asyncio.wait_for(self._control.send("Browser.getVersion"), _ANSWERS_WITHIN)
        except Exception:  # Playwright's errors, and those of a driver that has gone
            return False
        return True

    async def close(self) -> None:
        """End it, by force if need be, and the driver."""
        for ending in (self.browser.close, self._playwright.stop):
            with contextlib.suppress(Exception):
                await asyncio.wait_for(ending(), _ANSWERS_WITHIN)
        if _runs(self.pid, self._home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        shutil.rmtree(self._home, ignore_errors=True)


def _home() -> str:
    """A new directory for Chromium's own files: with a short path, for it puts a socket below it, whose path may have
    some 100 characters (unix(7)). Hadoop's temporary directories are longer."""
    usual = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="cobnut-chromium-", dir=usual if len(usual) <= _LONGEST_DIRECTORY else "/tmp")


def _environment(home: str) -> dict[str, str | float | bool]:
    """What Chromium sees of ours: no proxies, no display, no session, a home of its own, no programs to open links."""
    kept = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "FONTCONFIG_FILE", "FONTCONFIG_PATH")
    nothing = shutil.which("false") or "/bin/false"
    for helper in _HELPERS:
        Path(home, helper).symlink_to(nothing)
    values: dict[str, Any] = {name: os.environ[name] for name in kept if name in os.environ}
    return {**values, "PATH": f"{home}{os.pathsep}{os.environ.get('PATH', os.defpath)}", "HOME": home,
            "TMPDIR": home, "TZ": "UTC"}  # fmt: skip


def _runs(pid: int, home: str) -> bool:
    """Whether `pid` still is the process that was started with this home, as far as /proc tells."""
    try:
        return f"HOME={home}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _reason(message: str) -> str:
    """The one line of Playwright's report that says most."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = [line for line in lines if "sandbox" in line.lower() and "<launching>" not in line and "--" not in line]
    telling += [line for line in lines if "FATAL" in line]
    # Debian's start script writes a line about itself first
    telling += [line for line in lines if "[err]" in line and "unexpected operator" not in line]
    return (telling or lines or ["it says nothing"])[0][:300]
