"""A bucket on this machine that answers as slowly as a real one.

  python -m benchmarks.bucket --folder=DIR --latency=0.03 COMMAND ...

Runs a command for which gs://bucket holds the files of a folder, and prints
what it asked for. Nothing in the command's program is changed: TensorFlow's and
tensorstore's own clients of Google Cloud Storage are sent here by their
environment variables, TensorFlow's by a proxy that answers for Google with a
certificate of its own, tensorstore's by the address.
"""

import argparse
import asyncio
from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import random
import ssl
import subprocess
import sys
import tempfile
import threading

from benchmarks import bucket_objects

_HOSTS = ('storage.googleapis.com', 'www.googleapis.com')
_REASONS = {200: 'OK', 204: 'No Content', 206: 'Partial Content',
            308: 'Resume Incomplete', 403: 'Forbidden', 404: 'Not Found',
            412: 'Precondition Failed', 416: 'Range Not Satisfiable',
            503: 'Service Unavailable'}  # fmt: skip
_PATIENCE = 20  # seconds that answers are held back, see Behaviour


@dataclasses.dataclass
class Behaviour:
  """How the bucket answers; may be changed while it serves.

  Attributes:
    latency: seconds before each answer.
    jitter: up to so many more, drawn for each.
    error_every: each so many-th request is answered with 503; 0 is none.
    lose_every: each so many-th connection is closed instead of an answer.
    gather: answers are held back till so many are due, or for 20 seconds.
    read_only: writing is forbidden.
  """

  latency: float = 0.0
  jitter: float = 0.0
  error_every: int = 0
  lose_every: int = 0
  gather: int = 0
  read_only: bool = False


class Bucket(bucket_objects.Objects):
  """Objects that are served on a port of this machine.

  Attributes:
    behaviour: how they are.
    waiting: requests that wait for their answers.
    at_once: most requests that waited for their answers at a time.
    errors: requests that were not answered on purpose.
  """

  def __init__(self, behaviour: Behaviour | None = None):
    super().__init__()
    self.behaviour = behaviour or Behaviour()
    self.waiting = self.at_once = self.errors = 0
    self._number = 0
    self._draw = random.Random(0)

  def forget(self) -> None:
    """Counts from nothing again."""
    self.counts = bucket_objects.Counts()
    self.at_once = self.errors = 0

  @contextlib.contextmanager
  def serve(self) -> Iterator[dict[str, str]]:
    """Serves in a thread; gives the environment that leads clients here."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # clients that went away
    with tempfile.TemporaryDirectory() as folder:
      certificate, key = _make_certificate(pathlib.Path(folder))
      self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
      self._context.load_cert_chain(certificate, key)
      server = loop.run_until_complete(
        asyncio.start_server(self._connected, '127.0.0.1', 0, backlog=4096)
      )
      port = server.sockets[0].getsockname()[1]
      thread = threading.Thread(target=loop.run_forever, daemon=True)
      thread.start()
      try:
        yield {
          'https_proxy': f'http://127.0.0.1:{port}',
          'CURL_CA_BUNDLE': str(certificate),
          'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'token',
          'NO_GCE_CHECK': 'true',
          'TENSORSTORE_GCS_HTTP_URL': f'http://127.0.0.1:{port}',
          'STORAGE_EMULATOR_HOST': f'http://127.0.0.1:{port}',
          'CLOUD_STORAGE_EMULATOR_ENDPOINT': f'http://127.0.0.1:{port}',
        }
      finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

  async def _connected(self, reader, writer) -> None:
    gone = (
      asyncio.CancelledError,
      asyncio.IncompleteReadError,
      ConnectionError,
      ssl.SSLError,
    )
    with contextlib.closing(writer), contextlib.suppress(*gone):
      while await self._serve_one(reader, writer):
        pass

  async def _serve_one(self, reader, writer) -> bool:
    """Answers one request; returns whether another may follow."""
    head = (await reader.readuntil(b'\r\n\r\n')).decode()
    first, *lines = head.split('\r\n')
    method, target, _ = first.split(' ')
    headers = {
      name.lower(): value.strip()
      for name, _, value in (line.partition(':') for line in lines if line)
    }
    if method == 'CONNECT':
      writer.write(b'HTTP/1.1 200 OK\r\n\r\n')
      await writer.drain()
      await writer.start_tls(self._context)
      return True
    if headers.get('expect') == '100-continue':
      writer.write(b'HTTP/1.1 100 Continue\r\n\r\n')
    if headers.get('transfer-encoding') == 'chunked':
      body = await _read_chunks(reader)
    else:
      body = await reader.readexactly(int(headers.get('content-length', 0)))
    self._number += 1
    number = self._number
    await self._wait()
    if (every := self.behaviour.lose_every) and number % every == 0:
      self.errors += 1
      return False
    if (every := self.behaviour.error_every) and number % every == 0:
      self.errors += 1
      code, fields, content = 503, {}, b''
    elif self.behaviour.read_only and method in ('POST', 'PUT', 'DELETE'):
      code, fields, content = 403, {}, b''
    else:
      code, fields, content = self.answer(method, target, headers, body)
    fields = {'Content-Length': len(content)} | fields
    writer.write(f'HTTP/1.1 {code} {_REASONS[code]}\r\n'.encode())
    writer.writelines(f'{k}: {v}\r\n'.encode() for k, v in fields.items())
    writer.write(b'\r\n')
    writer.write(content)
    await writer.drain()
    return True

  async def _wait(self) -> None:
    """Until the answer is due."""
    behaviour = self.behaviour
    self.waiting += 1
    self.at_once = max(self.at_once, self.waiting)
    try:
      await asyncio.sleep(
        behaviour.latency + behaviour.jitter * self._draw.random()
      )
      for _ in range(_PATIENCE * 100):
        if self.at_once >= behaviour.gather:
          break
        await asyncio.sleep(0.01)
    finally:
      self.waiting -= 1


async def _end(server: asyncio.Server) -> None:
  server.close()
  tasks = asyncio.all_tasks() - {asyncio.current_task()}
  for task in tasks:
    task.cancel()
  await asyncio.gather(*tasks, return_exceptions=True)


async def _read_chunks(reader) -> bytes:
  body = b''
  while True:
    length = int((await reader.readuntil(b'\r\n')).split(b';')[0], 16)
    body += (await reader.readexactly(length + 2))[:-2]
    if not length:
      return body


def _make_certificate(
  folder: pathlib.Path,
) -> tuple[pathlib.Path, pathlib.Path]:
  """A certificate for Google's hosts, good in this folder's bundle only."""
  certificate, key = folder / 'certificate.pem', folder / 'key.pem'
  names = ','.join(f'DNS:{host}' for host in _HOSTS)
  subprocess.run(
    ['openssl', 'req', '-x509', '-nodes', '-newkey', 'ec', '-pkeyopt',
     'ec_paramgen_curve:prime256v1', '-days', '2', '-subj', '/CN=bucket',
     '-addext', f'subjectAltName={names}', '-keyout', key, '-out', certificate],
    check=True, capture_output=True,
  )  # fmt: skip
  return certificate, key


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--folder', required=True)
  parser.add_argument('--latency', type=float, default=0.0)
  parser.add_argument('--jitter', type=float, default=0.0)
  parser.add_argument('--error_every', type=int, default=0)
  parser.add_argument('command', nargs=argparse.REMAINDER)
  flags = parser.parse_args()
  bucket = Bucket(Behaviour(flags.latency, flags.jitter, flags.error_every))
  bucket.add_folder(flags.folder, 'bucket')
  with bucket.serve() as environment:
    done = subprocess.run(flags.command, env=os.environ | environment)
  print(f'{bucket.counts}, {bucket.at_once} at once, {bucket.errors} errors')
  return done.returncode


if __name__ == '__main__':
  sys.exit(main())
