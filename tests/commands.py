"""The code blocks of README.md and docs/, and the marks in the line before.

<!-- run: fast -->           every run of the tests runs it, in their process
<!-- run: slow -->           those that are marked slow do, with bash or python
<!-- run: slow, tiny -->     likewise, with the variant :tiny of every job
<!-- run: slow, needs SET --> likewise, where TFDS_DATA_DIR has this data set
<!-- not run: REASON -->     they cannot be run here
<!-- output -->              what the block before prints, numbers apart

Blocks of shell commands (sh, or no language) and of python need one of them.
A comment may hold a whole block that readers need not see, for the next one:

<!-- run: slow
mkdir DIR
-->
"""

from collections.abc import Iterator
import dataclasses
import importlib
import pathlib
import re
import shlex
import textwrap
from unittest import mock

from absl import flags

from selfie_jax import job_flags as job_flags_lib

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')])
LANGUAGES = ('', 'sh', 'python')

_BLOCK = re.compile(
  r'(?:^ *<!-- (?P<mark>[^\n]*) -->\n+)?'
  r'^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$'
  r'|^<!-- (?P<hidden_mark>run: [^\n]*)\n(?P<hidden>.*?)^-->$',
  re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(
  r'run: (fast|slow)(, tiny)?(, needs \S+)?|not run: .+|output'
)
_JOB = re.compile(r'--config=configs/(\w+)\.py(?::(\w+))?')


@dataclasses.dataclass(frozen=True)
class Block:
  """A code block: where it begins ('README.md:24'), and what its mark says."""

  place: str
  language: str
  text: str
  mark: str  # '' if there is none that can be read

  @property
  def is_output(self) -> bool:
    return self.mark == 'output'

  @property
  def is_code(self) -> bool:
    return self.language in LANGUAGES and not self.is_output

  @property
  def needs(self) -> str:
    return self.mark.partition(', needs ')[2]

  @property
  def is_tiny(self) -> bool:
    return ', tiny' in self.mark

  @property
  def program(self) -> str:
    """The text as it is run."""
    return _JOB.sub(_tiny_job, self.text) if self.is_tiny else self.text

  def is_run(self, speed: str) -> bool:
    return self.mark.startswith(f'run: {speed}')


def blocks(document: pathlib.Path) -> list[Block]:
  """All blocks of a document in their order."""
  text = document.read_text()
  found = []
  for match in _BLOCK.finditer(text):
    place = f'{document.name}:{text.count(chr(10), 0, match.start()) + 1}'
    code = textwrap.dedent(match['text'] or match['hidden'])
    mark = match['mark'] or match['hidden_mark'] or ''
    if not _MARK.fullmatch(mark):
      mark = ''
    found.append(Block(place, match['language'] or '', code, mark))
  return found


def job_flags(block: Block) -> Iterator[list[str]]:
  """The flags --config=... and --config.FIELD=... of each command of a job."""
  for words in _commands(block.text, _JOB):
    yield [w for w in words if w.startswith(('--config=', '--config.'))]


def run_in_process(block: Block) -> None:
  """Runs a fast block of shell commands in the current folder."""
  for words in _commands(block.program):
    match words:
      case ['python', 'main.py', *given]:
        main(*given)
      case ['python', '-m', module, *given]:
        with mock.patch('sys.argv', [module, *given]):
          importlib.import_module(module).main()
      case _:
        raise AssertionError(f'{block.place}: mark it slow: {words}')


def main(*given: str) -> None:
  """main.py with these flags, but for the handlers that end a program."""
  values, argv = flags.FLAGS, ['main.py', *given]
  _forget_job(values)  # benchmarks/ define one too
  import main as main_module

  _forget_job(values)
  for flag in values.flags_by_module_dict()['main']:
    flag.unparse()
  job_flags_lib.define(values, argv)
  job_flags_lib.parse(argv, values)
  # That would last until the tests' process ends.
  with mock.patch('selfie_jax.cache.keep_memory_of_steps'):
    main_module.main(argv[:1])


def _forget_job(values: flags.FlagValues) -> None:
  for name in [name for name in values if name.startswith('config')]:
    delattr(values, name)
  values.unparse_flags()


def _commands(text: str, pattern: re.Pattern | str = '') -> Iterator[list[str]]:
  """The words of each command in whose line there is a pattern."""
  for line in text.replace('\\\n', ' ').splitlines():
    if re.search(pattern, line):
      if words := shlex.split(line, comments=True):
        yield words


def _tiny_job(match: re.Match[str]) -> str:
  """The flags of the tiny job, in the folder of the job that is meant."""
  job, variant = match.groups()
  run = f'{job}_{variant}' if variant else job
  return f'--config=configs/{job}.py:tiny --workdir=runs/{run}'
