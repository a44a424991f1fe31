"""WebHDFS: the requests, and which of their failures pass and are waited for.

Paths are those on HDFS, `/crawl/…`; messages name them with the cluster in front. Files to read and write are in
`webhdfs_files`, the crawl's guarantees in `hdfs`. The operations, parameters and exceptions are those of Hadoop's
"WebHDFS REST API".
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import hdfs
import hdfs.client
import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from crawldb.errors import CobnutError, UsageError

logging.getLogger("hdfs").addHandler(logging.NullHandler())  # what it would print, our errors say

BLOCK = 1 << 20
_POOL = 64
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 10.0
_Result = TypeVar("_Result")
_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
"""What a connection that does not hold looks like."""
_NO_WEBHDFS = "an answer that is not WebHDFS's"
_PASSING = {"StandbyException", "RetriableException", "SafeModeException", "NoRouteToHostException", "ConnectException",
            "SocketTimeoutException", "ConnectTimeoutException", "SocketException", "EOFException", "IOException",
            "RemoteException", "RuntimeException", "BlockMissingException", "LeaseExpiredException", "NotReplicatedYetException",
            "AlreadyBeingCreatedException", "RecoveryInProgressException", "ServerNotRunningYetException", _NO_WEBHDFS}  # fmt: skip
_OS_ERRORS = {
    "FileNotFoundException": errno.ENOENT,
    "FileAlreadyExistsException": errno.EEXIST,
    "ParentNotDirectoryException": errno.ENOTDIR,
    "PathIsNotDirectoryException": errno.ENOTDIR,
    "PathIsNotEmptyDirectoryException": errno.ENOTEMPTY,
}
_CLEARER = {
    "(is not a directory)": "ParentNotDirectoryException",  # an AccessControlException to some operations
    "must both be directories": "FileAlreadyExistsException",  # an IOException, when a file is renamed to a directory
}
"""Exceptions of a too general class, by the end of their message."""
_QUOTAS = {"DSQuotaExceededException": "-setSpaceQuota", "NSQuotaExceededException": "-setQuota",
           "QuotaByStorageTypeExceededException": "-setSpaceQuota -storageType"}  # fmt: skip


class RemoteError(Exception):
    """A refusal by HDFS: the simple name of Hadoop's exception class (or the HTTP status), and its first line."""

    def __init__(self, exception: str, message: str, host: str) -> None:
        super().__init__(message)
        self.exception, self.message, self.host = exception, message, host

    @classmethod
    def of(cls, response: requests.Response) -> RemoteError:
        """What the answer says."""
        host = urlsplit(response.url).netloc
        try:
            remote = response.json()["RemoteException"]
            name, message = str(remote["exception"]), str(remote["message"] or "")
        except (ValueError, KeyError, TypeError):
            return cls(str(response.status_code), f"HTTP status {response.status_code} {response.reason}", host)
        message = (message.strip() or name).splitlines()[0]
        name = next((clearer for end, clearer in _CLEARER.items() if message.endswith(end)), name)
        return cls(name.rpartition("$")[2], message, host)


_HOPELESS = (requests.exceptions.SSLError, requests.exceptions.InvalidURL)
_DENIALS = {"AccessControlException", "SecurityException", "AuthorizationException", "InvalidToken", "401", "403"}
FAILURES = (RemoteError, hdfs.HdfsError, *_BROKEN)
"""What one attempt may end with: refusals, and connections that break."""


class _Http(hdfs.Client):  # type: ignore[misc]
    """The `hdfs` package's client, which knows the operations and turns from one NameNode to the next."""

    _open0 = hdfs.client._Request("GET", allow_redirects=False, stream=True)
    _get_delegation_token = hdfs.client._Request("GET")

    def resolve(self, hdfs_path: str) -> str:
        """Our paths are whole; `#LATEST` is a name like any other."""
        return hdfs_path

    def _request(self, method: str, url: str, **kwargs: Any) -> requests.Response:
        response = cast("requests.Response", super()._request(method, url, **kwargs))
        if response.status_code >= 400:
            error = RemoteError.of(response)
            response.close()
            if error.exception not in ("StandbyException", "RetriableException"):  # those are for the caller's turn
                raise error
        return response


class WebHdfs:
    """The operations of WebHDFS, each repeated with growing pauses while what hinders it may pass.

    FileNotFoundError, FileExistsError and NotADirectoryError as for local files. CobnutError, in one line that names
    file and host, when it does not pass: no answer, safe mode, quota, permissions.

    Safe to use from many threads and after a fork. Kerberos has not been tried on a secured cluster.
    """

    def __init__(
        self, root: str, urls: list[str], user: str, *, kerberos: bool = False, token: str | None = None,
        timeout: float = 60.0, retries: int = 8,
    ) -> None:  # fmt: skip
        self.root, self.urls, self.user = root, urls, user
        self.timeout, self.retries = timeout, retries
        self.kerberos, self._token = kerberos, token
        self._http: _Http | None = None
        self._process = 0
        self._lock = threading.Lock()

    def status(self, path: str) -> dict[str, Any]:
        """The FileStatus of a file or directory. FileNotFoundError if there is none."""
        status: dict[str, Any] = self._json("FileStatus", path, "_get_file_status")
        return status

    def listing(self, path: str) -> list[dict[str, Any]]:
        """The FileStatus of all in a directory; of a file, its own, with an empty pathSuffix."""
        statuses: list[dict[str, Any]] = self._json("FileStatuses", path, "_list_status")["FileStatus"]
        return statuses

    def make_directory(self, path: str, permission: str = "") -> None:
        """Make a directory and those above it that lack; `permission` in octal, else by the cluster's umask."""
        self._json("boolean", path, "_mkdirs", **({"permission": permission} if permission else {}))

    def delete(self, path: str, *, recursive: bool = False) -> bool:
        """Delete a file or directory; False if there is none."""
        return bool(self._json("boolean", path, "_delete", recursive="true" if recursive else "false"))

    def set_times(self, path: str, modified_at: int) -> None:
        """Set the modification time, UTC milliseconds."""
        self._answer(path, "_set_times", modificationtime=modified_at)

    def rename(self, source: str, target: str) -> None:
        """Rename, never overwriting, never into a directory: FileExistsError if there is anything at `target`.

        A rename whose answer was lost is known by the file's number, and is a success. FileNotFoundError if the source
        or the target's directory is missing.
        """
        number = self.status(source)["fileId"]
        try:
            # With options it is Hadoop's rename2, which refuses what plain RENAME answers by moving into a directory.
            answer = self._answer(source, "_rename", destination=target, renameoptions="NONE")
        except (FileExistsError, FileNotFoundError) as error:
            if not self._is(target, number):
                raise type(error)(error.errno, error.strerror, self.root + (
                    target if isinstance(error, FileExistsError) else source)) from None  # fmt: skip
            return
        if b"false" in answer and not self._is(target, number):  # HttpFS knows no options
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.root + target)

    def _is(self, path: str, number: int) -> bool:
        try:
            return bool(self.status(path)["fileId"] == number)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self, path: str) -> bytes:
        """All bytes of a (small) file."""
        return self._patiently(path, lambda patience: self.open_range(path, patience).content)

    def open_range(self, path: str, patience: Patience, **offset_and_length: int) -> requests.Response:
        """The answer that carries bytes of a file. One attempt only."""
        answer = self._client()._open0(path, **offset_and_length, **patience.excluded())
        if answer.status_code != 307:
            return cast("requests.Response", answer)  # HttpFS sends the bytes itself
        _ = answer.content  # nothing, but only who has read it may use the connection again
        return self._to_datanode("GET", answer, patience, stream=True)

    def upload(self, path: str, content: Callable[[], Any]) -> None:
        """Write a whole file, over what an attempt before may have left; `content` yields it from the start."""

        def attempt(patience: Patience) -> None:
            answer = self._client()._create(path, overwrite="true", **patience.excluded())
            self._to_datanode("PUT", answer, patience, data=content())

        try:
            self._patiently(path, attempt)
        except BaseException:
            with contextlib.suppress(Exception):  # no more attempts for what is garbage anyway
                self._client()._delete(path)
            raise

    def _to_datanode(self, method: str, answer: Any, patience: Patience, **arguments: Any) -> requests.Response:
        url = answer.headers.get("location")
        if not url:
            raise RemoteError(_NO_WEBHDFS, _NO_WEBHDFS, urlsplit(answer.url).netloc)
        patience.datanode = urlsplit(url).netloc
        return self._client()._request(method, url, **arguments)

    def delegation_token(self) -> str:
        """A token that lets who has it act for us, without Kerberos. Not tried on a secured cluster."""
        return str(self._json("Token", "/", "_get_delegation_token", renewer=self.user)["urlString"])

    # -- requests and their failures -----------------------------------------------------------------------

    def _json(self, key: str, path: str, operation: str, **parameters: Any) -> Any:
        def attempt(_: Patience) -> Any:
            answer = getattr(self._client(), operation)(path, **parameters)
            try:
                return answer.json()[key]
            except (ValueError, KeyError, TypeError):
                raise RemoteError(_NO_WEBHDFS, _NO_WEBHDFS, urlsplit(answer.url).netloc) from None

        return self._patiently(path, attempt)

    def _answer(self, path: str, operation: str, **parameters: Any) -> bytes:
        return bytes(self._patiently(path, lambda _: getattr(self._client(), operation)(path, **parameters).content))

    def _patiently(self, path: str, attempt: Callable[[Patience], _Result]) -> _Result:
        """What `attempt` returns, once it does."""
        patience = Patience(self, path)
        while True:
            try:
                return attempt(patience)
            except FAILURES as error:
                patience.after(error)

    def _client(self) -> _Http:
        with self._lock:
            if self._http is None or self._process != os.getpid():  # a fork shares its parent's sockets
                self._http, self._process = self._connect(), os.getpid()
            return self._http

    def _connect(self) -> _Http:
        session = requests.Session()
        session.trust_env = False  # as Hadoop's own clients: no proxies, no .netrc
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        for scheme in ("http://", "https://"):
            adapter = HTTPAdapter(pool_connections=_POOL, pool_maxsize=_POOL)
            adapter.init_poolmanager(_POOL, _POOL, blocksize=BLOCK)
            session.mount(scheme, adapter)
        url = ";".join(self.urls)
        if self._token:
            hdfs.TokenClient(url, self._token, session=session)
        elif self.kerberos:
            try:
                from hdfs.ext.kerberos import KerberosClient
            except ImportError:
                raise UsageError(
                    f"{self.root}: the cluster wants Kerberos: scripts/venv.sh kerberos, then kinit"
                ) from None
            KerberosClient(url, session=session)
        else:
            hdfs.InsecureClient(url, user=self.user, session=session)
        return _Http(url, session=session, timeout=self.timeout)


class Patience:
    """How often one operation on a file is tried again, with which DataNodes, and what is said in the end."""

    def __init__(self, fs: WebHdfs, path: str) -> None:
        self._fs, self._path = fs, path
        self._failures = 0
        self._shunned: set[str] = set()
        self.datanode = ""
        """Whom the NameNode sent us to."""

    def excluded(self) -> dict[str, str]:
        """The parameter that asks for other DataNodes than those that failed."""
        self.datanode = ""
        return {"excludedatanodes": ",".join(sorted(self._shunned))} if self._shunned else {}

    def after(self, error: BaseException) -> None:
        """Wait, if what failed may work the next time; else raise what it means."""
        if self._shunned and not self.datanode and isinstance(error, RemoteError):
            self._shunned.clear()  # the NameNode knows no others, so those again
            return
        if self._failures >= self._fs.retries or not self._passes(error):
            raise self._meaning(error) from None
        if self.datanode:
            self._shunned.add(urlsplit(f"//{self.datanode}").hostname or self.datanode)
        wait = min(_FIRST_WAIT * 2**self._failures, _LONGEST_WAIT)
        self._failures += 1
        time.sleep(wait * random.uniform(0.75, 1.25))  # or all tasks of a job come back at the same moment

    def reset(self) -> None:
        """It goes on."""
        self._failures = 0

    def _passes(self, error: BaseException) -> bool:
        if isinstance(error, RemoteError):
            return error.exception in _PASSING or error.exception[:1] == "5"
        return not isinstance(error, _HOPELESS)

    def _meaning(self, error: BaseException) -> Exception:
        where = self._fs.root + self._path
        if isinstance(error, RemoteError):
            return self._refusal(where, error)
        if isinstance(error, hdfs.HdfsError):
            name, message = error.exception, str(error.message).strip().splitlines()[0]
            return self._refusal(where, RemoteError(name or "", message, self._host(error)))
        return CobnutError(f"{where}: {self._host(error)}: {self._reason(error)}")

    def _refusal(self, where: str, error: RemoteError) -> Exception:
        if error.exception in _OS_ERRORS:
            code = errno.EISDIR if "Path is not a file" in error.message else _OS_ERRORS[error.exception]
            return OSError(code, os.strerror(code), where)
        if error.exception in _QUOTAS:
            directory = re.search(r" of (?:directory )?(/.*?) is exceeded", error.message)
            named = self._fs.root + directory[1] if directory else where
            return CobnutError(
                f"{named}: the quota is exceeded; raise it (hdfs dfsadmin {_QUOTAS[error.exception]}) or make room, "
                f"then run it again: {error.message}"
            )
        if error.exception in _DENIALS:
            return CobnutError(f"{where}: {error.host} denies access to {self._fs.user}: {error.message}")
        if error.exception == "SafeModeException" or "in safe mode" in error.message:
            return CobnutError(
                f"{where}: the NameNode is in safe mode ({error.host}); wait until it has left it, "
                "or end it with: hdfs dfsadmin -safemode leave"
            )
        return CobnutError(f"{where}: {error.host}: {error.message}")

    def _host(self, error: BaseException) -> str:
        request = getattr(error, "request", None)
        if request is not None:
            return str(urlsplit(request.url).netloc)
        return self.datanode or ", ".join(urlsplit(url).netloc for url in self._fs.urls)

    def _reason(self, error: BaseException) -> str:
        if isinstance(error, _HOPELESS):
            return f"{str(error).splitlines()[0]} (REQUESTS_CA_BUNDLE names the certificates to trust)"
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, OSError) and cause.errno and cause.strerror:
                return str(cause.strerror)
        if any(isinstance(cause, (requests.Timeout, urllib3.exceptions.TimeoutError)) for cause in causes):
            return f"no answer within {self._fs.timeout:g} s"
        return "the connection broke off"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came of."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            yield one
            waiting += [getattr(one, "reason", None), *one.args, one.__cause__, one.__context__]
