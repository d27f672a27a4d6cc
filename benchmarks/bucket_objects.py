"""Objects as Google Cloud Storage keeps them, in memory.

As much of its JSON interface as TensorFlow and tensorstore use, and the reading
half of its XML interface.
"""

import collections
import dataclasses
import itertools
import json
import os
import pathlib
import time
from urllib import parse

_OBJECT = '/storage/v1/b/'
_UPLOAD = '/upload/storage/v1/b/'

Answer = tuple[int, dict[str, object], bytes]  # code, fields, content


@dataclasses.dataclass
class Counts:
  """What was asked for.

  Attributes:
    requests: number, by 'read', 'look', 'list', 'write', 'delete'.
    bytes_read: of the contents of objects.
  """

  requests: collections.Counter = dataclasses.field(
    default_factory=collections.Counter
  )
  bytes_read: int = 0


@dataclasses.dataclass
class Object:
  """One, and when it was written."""

  content: bytes
  generation: int
  time: float


class Objects:
  """Named contents.

  Attributes:
    objects: by bucket and name, 'bucket/folder/file'.
    counts: what was asked for.
  """

  def __init__(self):
    self.objects: dict[str, Object] = {}
    self.counts = Counts()
    self._generations = itertools.count(1)
    self._uploads: dict[str, tuple[str, bytearray]] = {}

  def add_folder(self, folder: str | os.PathLike, prefix: str) -> None:
    """Takes all files of a folder, as 'prefix/file'."""
    root = pathlib.Path(folder)
    for path in sorted(root.rglob('*')):
      if path.is_file():
        self.put(f'{prefix}/{path.relative_to(root)}', path.read_bytes())

  def put(self, name: str, content: bytes) -> None:
    """Writes an object."""
    number = next(self._generations)
    self.objects[name] = Object(content, number, time.time())

  def answer(self, method, target, headers, body) -> Answer:
    """Code, headers and content of the answer to a request."""
    url = parse.urlsplit(target)
    query = dict(parse.parse_qsl(url.query))
    if url.path.startswith(_UPLOAD):
      return self._write(method, url, query, headers, body)
    if not url.path.startswith(_OBJECT):  # the XML interface
      return self._read(parse.unquote(url.path[1:]), headers)
    bucket, _, rest = url.path[len(_OBJECT) :].partition('/')
    if rest in ('', 'storageLayout'):
      return _json({'kind': 'storage#bucket', 'name': bucket})
    if rest in ('o', 'o/'):
      return self._list(bucket, query)
    source, _, target = rest.removeprefix('o/').partition('/rewriteTo/b/')
    name = f'{bucket}/{parse.unquote(source)}'
    found = self.objects.get(name)
    if target:
      if not found:
        return 404, {}, b''
      bucket, _, copy = target.partition('/o/')
      copy = f'{bucket}/{parse.unquote(copy)}'
      self.counts.requests['write'] += 1
      self.put(copy, found.content)
      return _json({'done': True, 'resource': self._describe(copy)})
    if method == 'DELETE':
      self.counts.requests['delete'] += 1
      if not found:
        return 404, {}, b''
      if not _allows(query, found):
        return 412, {}, b''
      del self.objects[name]
      return 204, {}, b''
    if query.get('alt') == 'media':
      return self._read(name, headers, query)
    self.counts.requests['look'] += 1
    return _json(self._describe(name)) if found else (404, {}, b'')

  def _read(self, name, headers, query=None) -> Answer:
    self.counts.requests['read'] += 1
    found = self.objects.get(name)
    if not found:
      return 404, {}, b''
    content, code = found.content, 200
    fields: dict[str, object] = {'x-goog-generation': found.generation}
    if wanted := headers.get('range', '').removeprefix('bytes='):
      first, last = wanted.split('-')
      start = int(first) if first else max(len(content) - int(last), 0)
      end = int(last) + 1 if first and last else len(content)
      if start >= len(content):
        return 416, fields, b''
      total, content, code = len(content), content[start:end], 206
      fields['Content-Range'] = (
        f'bytes {start}-{start + len(content) - 1}/{total}'
      )
    self.counts.bytes_read += len(content)
    return code, fields, content

  def _write(self, method, url, query, headers, body):
    bucket = url.path[len(_UPLOAD) :].partition('/')[0]
    if query.get('uploadType') == 'media':
      name = f'{bucket}/{query["name"]}'
      if not _allows(query, self.objects.get(name)):
        return 412, {}, b''
      self.counts.requests['write'] += 1
      self.put(name, body)
      return _json(self._describe(name))
    if 'upload_id' not in query:
      number = str(len(self._uploads))
      self._uploads[number] = f'{bucket}/{query["name"]}', bytearray()
      host = headers['host']
      return (
        200,
        {'Location': f'https://{host}{url.path}?upload_id={number}'},
        b'',
      )
    name, content = self._uploads[query['upload_id']]
    wanted = headers.get('content-range', '').removeprefix('bytes ')
    span, _, total = wanted.partition('/')
    if span not in ('*', ''):
      start = int(span.partition('-')[0])
      content[start:] = body
    elif not wanted:
      content[:] = body
    if total == '*' or (total and len(content) < int(total)):
      fields = {'Range': f'bytes=0-{len(content) - 1}'} if content else {}
      return 308, fields, b''
    self.counts.requests['write'] += 1
    self.put(name, bytes(content))
    return _json(self._describe(name))

  def _list(self, bucket, query) -> Answer:
    self.counts.requests['list'] += 1
    prefix, delimiter = query.get('prefix', ''), query.get('delimiter')
    start = query.get('startOffset', '')
    items, prefixes = [], set()
    for name in sorted(self.objects):
      owner, _, key = name.partition('/')
      if owner != bucket or not key.startswith(prefix) or key < start:
        continue
      head, found, _ = key[len(prefix) :].partition(delimiter or '\0')
      if found:
        prefixes.add(f'{prefix}{head}{found}')
      else:
        items.append(self._describe(name))
      if len(items) + len(prefixes) >= int(query.get('maxResults', 10**9)):
        break
    return _json({'items': items, 'prefixes': sorted(prefixes)})

  def _describe(self, name: str) -> dict[str, str]:
    bucket, _, key = name.partition('/')
    found = self.objects[name]
    moment = time.gmtime(found.time)
    stamp = time.strftime('%Y-%m-%dT%H:%M:%S', moment)
    return {
      'kind': 'storage#object',
      'bucket': bucket,
      'name': key,
      'size': str(len(found.content)),
      'generation': str(found.generation),
      'metageneration': '1',
      'updated': f'{stamp}.{int(found.time % 1 * 1000):03}Z',
      'timeCreated': f'{stamp}.{int(found.time % 1 * 1000):03}Z',
    }


def _allows(query: dict[str, str], found: Object | None) -> bool:
  """Whether the generation is the one that the request asks for."""
  wanted = query.get('ifGenerationMatch')
  return wanted is None or int(wanted) == (found.generation if found else 0)


def _json(value) -> Answer:
  fields = {'Content-Type': 'application/json; charset=UTF-8'}
  return 200, fields, json.dumps(value).encode()
